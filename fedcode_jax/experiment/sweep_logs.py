"""The logs of a sweep: each run is one of its own there, written when it is done."""

import dataclasses
import pathlib
from collections.abc import Sequence

from fedcode_jax.config import ExperimentConfig
from fedcode_jax.experiment.group_run import Ended
from fedcode_jax.experiment.grouping import Planned
from fedcode_jax.experiment.journal import beginning
from fedcode_jax.loggers import Logger, Loggers, makers


class SweepLogs:
    """Logs the runs of a sweep, grouped by the name of its folder.

    A logger that cannot begin with a run costs a warning, and is left out from then on.

    Args:
      own: loggers that were given in Python.
      out: the folder of the sweep, or None.
    """

    def __init__(self, own: Sequence[Logger], out: str | None) -> None:
        self._own, self._out = own, out
        self._known: dict[tuple[str, ...], Loggers] = {}

    def check(self, config: ExperimentConfig) -> None:
        """Makes the loggers that a run has, once for all that have the same.

        Raises:
          ConfigError: as of ``loggers.makers``.
        """
        if config.log not in self._known:
            found = makers(config.log, self._own, folder=self._out)
            self._known[config.log] = Loggers(found, strict=False)

    def write(self, one: Planned, ended: Ended, folder: pathlib.Path | None) -> None:
        """Logs a run from its beginning to its end.

        Args:
          one: the experiment.
          ended: what came of it.
          folder: of it, or None.
        """
        loggers = self._known[one.config.log]
        group = None if self._out is None else pathlib.Path(self._out)
        run = beginning(one.config, folder, group)
        if folder is None:
            run = dataclasses.replace(run, name=f"{run.name} {one.number:04d}")
        loggers.begin(run, [], {})
        loggers.rounds(ended.records)
        loggers.end(ended.summary)
