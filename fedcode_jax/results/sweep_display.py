"""What a sweep shows: a bar or lines while it goes, and a table of its experiments."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedcode_jax.results.units import format_accuracy, format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

_LINES = 10
_MOST_ROWS = 100


class SweepProgress:
    """Shows how far a sweep is; handed to ``experiment.sweep``. A context manager.

    Args:
      console: where to print.
      quiet: show nothing.

    Example:
      >>> from rich.console import Console
      >>> import sys
      >>> progress = SweepProgress(Console(file=sys.stdout, force_terminal=False))
      >>> progress.started(total=2, finished=0, groups=1)
      2 experiments in 1 program
      >>> progress.advanced(1)
      experiment 1/2
    """

    def __init__(self, console: "Console", quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._progress: Progress | None = None
        self._total, self._done, self._shown = 0, 0.0, 0

    def __enter__(self) -> "SweepProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.finished()

    def started(self, total: int, finished: int, groups: int) -> None:
        """Says what there is to do, and starts the bar."""
        self._total, self._done = total, float(finished)
        self._shown = finished * _LINES // max(total, 1)
        if self._quiet:
            return
        programs = f"{groups} program{'s' if groups != 1 else ''}"
        before = f", {finished} of them finished before" if finished else ""
        self._console.print(f"{total} experiments in {programs}{before}", highlight=False)
        if self._console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
            self._progress = Progress(*columns, console=self._console)
            self._progress.add_task(self._text(), total=total, completed=finished)
            self._progress.start()

    def advanced(self, experiments: float) -> None:
        """Shows what was done since the last call, in experiments or parts of one."""
        self._done += experiments
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=self._done, description=self._text())
        elif not self._quiet and int(self._done + 1e-6) * _LINES // self._total > self._shown:
            self._shown = int(self._done + 1e-6) * _LINES // self._total
            self._console.print(self._text(), highlight=False)

    def finished(self) -> None:
        """Takes the bar down."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _text(self) -> str:
        return f"experiment {int(self._done + 1e-6)}/{self._total}"


def sweep_table(rows: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> "Table":
    """The experiments of a sweep for the terminal; of very many, the most accurate.

    Accuracy is the mean of the last period, or where a schedule has none that of the last round.

    Args:
      rows: as of ``sweep_row``.
      axes: the settings that differ.

    Returns:
      A table that a rich console prints.

    Example:
      >>> sweep_table([{"run": 0, "seed": 1, "status": "failed"}], ["seed"]).row_count
      1
    """
    from rich import box
    from rich.table import Table

    shown = list(rows)
    title = None
    if len(shown) > _MOST_ROWS:
        title = f"The {_MOST_ROWS} most accurate of {len(rows)} experiments; all are in results.csv"
        shown.sort(key=lambda row: -(row.get("period_accuracy") or row.get("final_accuracy") or 0))
        shown = shown[:_MOST_ROWS]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for name in ("run", *axes, "status"):
        table.add_column(name, justify="right" if name == "run" else "left")
    for name in ("accuracy", "mean of last period", "sent", "simulated time"):
        table.add_column(name, justify="right")
    for row in shown:
        up, down = row.get("total_uplink_bytes"), row.get("total_downlink_bytes")
        seconds = row.get("simulated_seconds")
        table.add_row(
            str(row["run"]),
            *(str(row[name]) for name in axes),
            str(row["status"]),
            format_accuracy(row.get("final_accuracy")),
            format_accuracy(row.get("period_accuracy")),
            "-" if up is None or down is None else format_bytes(up + down),
            "-" if seconds is None else format_seconds(seconds),
        )
    return table
