"""The account of a sweep: what has ended, in this start or an earlier one, written as it comes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.experiment.group_run import Ended, Progress
from fedcode_jax.experiment.grouping import Planned
from fedcode_jax.experiment.shares import Share
from fedcode_jax.experiment.sweep_logs import SweepLogs
from fedcode_jax.experiment.sweep_result import SweepObserver, SweepResult, SweepRun


@dataclasses.dataclass
class Ledger:
    """What this process has to run of a sweep, and what has come of it.

    Attributes:
      plan: all experiments of the sweep.
      own: those that this process is to run or has found finished.
      folder: of the sweep, or None.
      logs: told of each experiment that ends.
      done: those that are finished, by number.
    """

    plan: Sequence[Planned]
    own: Sequence[Planned]
    folder: results.SweepFolder | None
    logs: SweepLogs
    done: dict[int, SweepRun] = dataclasses.field(default_factory=dict)

    @classmethod
    def opened(
        cls,
        base: ExperimentConfig,
        plan: Sequence[Planned],
        own: Sequence[Planned],
        logs: SweepLogs,
        out: str | None,
        share: Share | None,
    ) -> "Ledger":
        """Opens the folder, if there is to be one, and reads what is finished in it.

        Args:
          base: the config of what is on no axis.
          plan: all experiments of the sweep.
          own: those that this process is to run.
          logs: told of each experiment that ends.
          out: the folder.
          share: which part of the sweep ``own`` is; None for all.

        Raises:
          ConfigError: the folder cannot be used.
        """
        if out is None:
            return cls(plan, own, None, logs)
        versions = results.installed_versions(jax.devices()[0].device_kind)
        folder = results.SweepFolder.open(out, _description(base, plan), versions, share)
        ledger = cls(plan, own, folder, logs)
        try:
            folder.tidy(one.number for one in own)
            for one in own:
                kept = folder.read(one.number)
                if kept is not None:
                    ledger._note(one, *kept)
        except BaseException:
            folder.close()
            raise
        return ledger

    @property
    def left(self) -> list[Planned]:
        """What is still to be run: also what failed in an earlier start."""
        return [one for one in self.own if one.number not in self.done]

    def begin(self, observer: SweepObserver | None, groups: int) -> Progress:
        """Tells who watches that the sweep starts; gives what is told how far it is."""
        if observer is None:
            return Progress(lambda experiments: None)
        observer.started(len(self.own), len(self.done), groups)
        return Progress(observer.advanced)

    def finish(self, one: Planned, ended: Ended, versions: Mapping[str, str] | None = None) -> None:
        """Writes down an experiment that has ended.

        Args:
          one: the experiment.
          ended: what came of it.
          versions: of what ran it, where that was another process.
        """
        path = None
        if self.folder is not None:
            text = configs.to_yaml(one.config)
            path = self.folder.write(one.number, text, **vars(ended), versions=versions)
        self._note(one, ended.records, ended.summary)
        self.logs.write(one, ended, path)

    def _note(self, one: Planned, records: list[dict], summary: dict[str, Any]) -> None:
        path = None if self.folder is None else self.folder.of(one.number)
        self.done[one.number] = SweepRun(one.point, one.config, records, summary, path, one.number)

    def close(self) -> None:
        """Writes the table of all that has ended, whoever ran it, and lets go of the folder."""
        if self.folder is None:
            return
        try:
            self.folder.write_table([one.point for one in self.plan])
        finally:
            self.folder.close()

    @property
    def result(self) -> SweepResult:
        """What the sweep gives, when all of it has ended."""
        runs = [self.done[one.number] for one in self.own]
        return SweepResult(runs, None if self.folder is None else self.folder.path)


def _description(base: ExperimentConfig, plan: Sequence[Planned]) -> dict[str, Any]:
    """What makes a sweep this one: its settings, and the points of all its experiments."""
    settings = configs.to_dict(base)
    del settings["log"]  # it may go on with others
    return {
        "settings": settings,
        "points": [configs.plain(one.point) for one in plan],
    }
