"""CSV files that grow by rows while a run goes: one header, whole rows, readable at any moment."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.errors import CheckpointError
from fedcode_jax.loggers import flat
from fedcode_jax.results.writing import strict, write_atomically

Row = Mapping[str, Any]


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The columns of rows, in the order in which they first occur; nested names are dotted.

    Example:
      >>> columns_of([{"round": 1, "exchange": {"up": True}}, {"round": 2, "loss": None}])
      ['round', 'exchange.up', 'loss']
    """
    return list(dict.fromkeys(name for row in rows for name in flat(row)))


def csv_text(rows: Iterable[Row], columns: Sequence[str], *, header: bool = True) -> str:
    """Rows as CSV.

    Numbers, true and false are as in JSON, and so is a list; None, NaN and infinity are empty.

    Args:
      rows: nested ones are flattened.
      columns: what of them is written, in this order.
      header: whether the columns come first.

    Returns:
      One line a row.

    Example:
      >>> print(csv_text([{"round": 1, "sent": True, "sizes": [1, 2]}], ["round", "sent", "sizes"]))
      round,sent,sizes
      1,true,"[1, 2]"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header and columns:
        writer.writerow(columns)
    for row in rows:
        values = flat(strict(row))
        writer.writerow([_cell(values.get(name)) for name in columns])
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Adds rows to a CSV file, which gets its columns with the first ones.

    A row with a column that the file lacks, such as one of a run that was begun by an earlier
    version, makes it anew with that column.

    Args:
      path: the file; it need not exist.
      rows: to add.
    """
    if not rows:
        return
    columns = _header(path)
    new = [name for name in columns_of(rows) if name not in columns]
    if columns and not new:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(csv_text(rows, columns, header=False))
        return
    before = read_rows(path) if columns else []
    write_atomically(path, csv_text([*before, *rows], [*columns, *new]))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as texts by column; one that was cut off at the end is left out."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(io.StringIO(whole)))


def cut_rows(path: Path, last: int) -> None:
    """Leaves in a CSV file, if there is one, the rows of rounds up to ``last``.

    Args:
      path: the file; it has a column ``round``.
      last: round.

    Raises:
      CheckpointError: it holds something else.
    """
    if not path.exists():
        return
    try:
        columns = _header(path)
        rows = [row for row in read_rows(path) if int(row["round"]) <= last]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: is damaged: it has no rows of rounds; remove it to go on without"
        ) from error
    write_atomically(path, csv_text(rows, columns) if columns else "")


def _header(path: Path) -> list[str]:
    """The columns of a file; none if there is no file or no whole line in it."""
    if not path.exists() or not path.stat().st_size:
        return []
    with path.open(encoding="utf-8", newline="") as file:
        line = file.readline()
    return next(csv.reader([line])) if line.endswith("\n") else []
