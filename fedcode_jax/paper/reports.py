"""A report for each partition of a task, whose rows are the methods by name, quirks left out."""

import re
from pathlib import Path
from typing import NamedTuple

from fedcode_jax.paper.reading import REFERENCE, Paper
from fedcode_jax.paper.running import Runs
from fedcode_jax.results.report import PAGE, write_report

PICTURE = "frontier.png"


class Report(NamedTuple):
    """Where a report lies, below the folder of all.

    Attributes:
      task: by name.
      partition: by name.
      page: the report.
      picture: its picture of accuracy against bytes; None if no run completed.
    """

    task: str
    partition: str
    page: str
    picture: str | None


def write_reports(paper: Paper, runs: Runs, task: str, out: Path) -> list[Report]:
    """Writes the reports of a task, in place of earlier ones.

    Args:
      paper: the experiments.
      runs: of the task, each with its folder.
      task: by name.
      out: folder of all.

    Returns:
      One a partition.
    """
    found = []
    for partition in paper.partitions:
        place = Path(task, _slug(partition))
        rows = {
            method: [
                folder
                for (name, where, _), run in runs.items()
                if (name, where) == (method, partition) and (folder := run.folder) is not None
            ]
            for method, one in paper.methods.items()
            if not one.quirk
        }
        write_report(rows, out / place, against=REFERENCE, overwrite=True)
        drawn = (out / place / PICTURE).is_file()
        picture = (place / PICTURE).as_posix() if drawn else None
        found.append(Report(task, partition, (place / PAGE).as_posix(), picture))
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
