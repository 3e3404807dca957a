"""What a run shows while it goes: a bar on a terminal, a line every tenth elsewhere."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedcode_jax.results.units import format_accuracy, format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_LINES = 10


class Standing:
    """Where a run stands, in figures for people.

    Args:
      rounds: that it will take.

    Attributes:
      done: the last round that was done.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds, self.done = rounds, 0
        self._told, self._seconds, self._sent = 0, 0.0, 0
        self._accuracy: float | None = None
        self._personal: float | None = None

    def take(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Takes records of rounds; those without an accuracy leave the last one."""
        for record in records:
            self._told += 1
            self._seconds += record.get("wall_seconds") or 0.0
            if record.get("test_accuracy") is not None:
                self._accuracy = record["test_accuracy"]
                self._personal = record.get("personal_accuracy")
            self.done, self._sent = record["round"], record["cumulative_bytes"]

    def figures(self) -> str:
        """Accuracy, what was sent, and the time that is left."""
        found = f"accuracy {format_accuracy(self._accuracy)}"
        if self._personal is not None:
            found += f"  clients' own models {format_accuracy(self._personal)}"
        found += f"  sent {format_bytes(self._sent)}"
        if self._told and self.done < self.rounds:
            left = self._seconds / self._told * (self.rounds - self.done)
            found += f"  {format_seconds(left)} left"
        return found


class ProgressObserver:
    """Shows the facts of a run and then its progress; handed to ``experiment.run``.

    It is a context manager, so that the bar leaves the terminal in order when a run fails.

    Args:
      console: where to print; None for standard output.

    Example:
      >>> from rich.console import Console
      >>> import sys
      >>> observer = ProgressObserver(Console(file=sys.stdout, force_terminal=False))
      >>> observer.started({"data": "digits"}, rounds=1)
      data  digits
      >>> observer.advanced(
      ...     [{"round": 1, "test_accuracy": 0.5, "cumulative_bytes": 10, "wall_seconds": 1.0}]
      ... )
      round 1/1  accuracy 50.00 %  sent 10 B
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console

        self._console = console or Console()
        self._progress: Progress | None = None
        self._shown = 0

    def __enter__(self) -> "ProgressObserver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def started(self, info: Mapping[str, str], rounds: int) -> None:
        """Prints the facts of the run, and starts the bar.

        Args:
          info: lines to print, by name: data, partition, model, plan, device.
          rounds: rounds that the run will take.
        """
        self._standing = Standing(rounds)
        width = max((len(name) for name in info), default=0)
        for name, value in info.items():
            self._print(f"{name:<{width}}  {value}")
        if self._console.is_terminal:
            self._start_bar()

    def advanced(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Shows rounds that were done since the last call.

        Args:
          records: their records; those without an accuracy leave the last one shown.
        """
        if not records:
            return
        standing = self._standing
        standing.take(records)
        figures, done, rounds = standing.figures(), standing.done, standing.rounds
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=done, figures=figures)
        elif done * _LINES // rounds > self._shown or done == rounds:
            self._shown = done * _LINES // rounds
            self._print(f"round {done}/{rounds}  {figures}")

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Takes the bar down; the closing table tells the rest.

        Args:
          summary: the closing figures.
        """
        del summary
        self.close()

    def close(self) -> None:
        """Takes the bar down, also after an error."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start_bar(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
        )
        self._progress.add_task("", total=self._standing.rounds, figures="compiling")
        self._progress.start()

    def _print(self, text: str) -> None:
        # As it is: a path may hold what rich takes for markup, and lines are not to be cut.
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
