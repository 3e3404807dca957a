"""What a sweep gives, and who watches it."""

import dataclasses
import pathlib
from typing import Any, Protocol

from fedcode_jax import results
from fedcode_jax.config import ExperimentConfig


class SweepObserver(Protocol):
    """Who watches a sweep."""

    def started(self, total: int, finished: int, groups: int) -> None:
        """Called once: experiments, those that an earlier start finished, and programs."""

    def advanced(self, experiments: float) -> None:
        """Called with every step: experiments done since the last call, parts of one too."""

    def finished(self) -> None:
        """Called once, at the end."""


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One experiment of a sweep.

    Attributes:
      point: value by setting of the axes.
      config: all its settings.
      records: one dict a round, as in ``metrics.jsonl``.
      summary: as in ``summary.json``; its ``status`` is ``completed``, ``diverged``, or ``failed``
        with an ``error``.
      folder: where it was written, or None.
      number: its place in the sweep, from 0.
    """

    point: dict[str, Any]
    config: ExperimentConfig
    records: list[dict]
    summary: dict[str, Any]
    folder: pathlib.Path | None = None
    number: int = 0


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What a sweep gives.

    Attributes:
      runs: in the order of the grid or of the draws; those of a share alone, if one was run.
      folder: where they were written, or None.
      repeated: combinations or draws that were left out: they come to the same as another.
    """

    runs: list[SweepRun]
    folder: pathlib.Path | None
    repeated: int = 0

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row an experiment, as in ``results.csv``."""
        return [results.sweep_row(run.number, run.point, run.summary) for run in self.runs]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """For IPython: the table of the experiments."""
        del include, exclude
        axes = list(self.runs[0].point) if self.runs else []
        return results.shown(results.sweep_table(self.table, axes), {})
