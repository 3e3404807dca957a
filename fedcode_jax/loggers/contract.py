"""What a logger is: three functions that are told of a run."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class Beginning:
    """The run that a logger is to tell of.

    Attributes:
      settings: of the config, plain values by dotted name.
      name: what the run is called.
      group: the name of the sweep that it is of, or None.
      folder: of the run; None if it has none.
      shared: the folder for what runs have in common: of the sweep, else of the run.
      done: rounds that an earlier start has done, which the run goes on from; 0 for a new run.
      told: rounds that an earlier start has told of, those after its last checkpoint too.
      kept: what the logger put here when the run began; what it puts here in ``begin`` is kept in
        the run's folder (JSON) for when the run is resumed.
    """

    settings: Mapping[str, Any]
    name: str
    group: str | None = None
    folder: pathlib.Path | None = None
    shared: pathlib.Path | None = None
    done: int = 0
    told: int = 0
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)


class Logger(Protocol):
    """Writes down a run somewhere; ``run(..., loggers=[...])`` takes any object like this.

    What it raises in ``begin`` ends the run before it starts. In ``round`` and ``end`` it costs a
    warning; the logger then rests until the end, when it is told what it has missed.

    A logger may have an attribute ``needs_folder``: if true, runs without a folder are refused.
    """

    def begin(self, run: Beginning) -> int | None:
        """Called before the first round.

        Returns:
          How many rounds the log holds already, which are not told again; None for ``run.done``.
        """

    def round(self, record: Mapping[str, Any]) -> None:
        """Called with every round, in order: a record, as a line of ``metrics.jsonl``."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Called once at the end, with what ``summary.json`` holds.

        Its ``status`` is completed, diverged, interrupted or failed; of a run that failed it has no
        figures, but an ``error``.
        """
