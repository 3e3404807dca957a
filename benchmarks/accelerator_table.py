"""The records of ``accelerator.py``, and the table of them."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any


def write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes a record whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=1) + "\n")
    draft.replace(path)


def read(path: pathlib.Path) -> dict[str, Any]:
    """A record, or nothing where there is none."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def table(folder: pathlib.Path, order: Sequence[str]) -> str:
    """The Markdown table of all records, or a line that says that there are none.

    Args:
      folder: has a folder for each card.
      order: of the parts.
    """
    records = [read(path) for path in folder.glob("*/*.json")]
    records = sorted(
        (record for record in records if record.get("part") in order),
        key=lambda record: (record["card"], order.index(record["part"])),
    )
    rows = []
    for record in records:
        found = [(row["what"], row["figure"]) for row in record["found"]]
        if record["status"] != "done":
            found.append((record["part"], f"{record['status']}: {record['reason']}"))
        rows += [(*cells, record["card"], record["date"]) for cells in found]
    if not rows:
        return "no results of a card yet: `python benchmarks/accelerator.py --minutes 9` makes them"
    head = ["| what | figure | card | date |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
