"""What a run tells those who watch it, and writes into its folder as it goes."""

import dataclasses
import json
import logging
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import CheckpointError
from fedcode_jax.experiment.building import Experiment
from fedcode_jax.experiment.clients_table import client_rows
from fedcode_jax.experiment.closing import evaluation_of
from fedcode_jax.experiment.origin import module_checksums, origin_of
from fedcode_jax.experiment.saving import is_time
from fedcode_jax.loggers import Beginning, Loggers
from fedcode_jax.names import one_line
from fedcode_jax.simulation import Evaluation, Outcome, State, checkpoint, processes
from fedcode_jax.simulation.records import has_diverged


class Observer(Protocol):
    """Who watches a run; the command shows a progress bar this way."""

    def started(self, info: Mapping[str, str], rounds: int) -> None:
        """Called once, before the first round, with lines for people."""

    def advanced(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Called after every evaluation with the new records."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Called once, with the summary."""


@dataclasses.dataclass
class Journal:
    """What a run tells and writes as it goes; only the first process has any of it but records.

    Attributes:
      experiment: what runs.
      folder: of the run, or None.
      observer: who watches, or None.
      loggers: that are told of every round.
      records: of the rounds that an earlier start has done.
      saved: the last round of which there is a checkpoint.
      modules: checksums of those of one's own that it was built from.
      done: the last round that was told.
      saved_at: when that checkpoint was made, or the run began; monotonic seconds.
    """

    experiment: Experiment
    folder: results.RunFolder | None
    observer: Observer | None
    loggers: Loggers
    records: list[dict]
    saved: int
    modules: dict[str, str] = dataclasses.field(default_factory=dict)
    done: int = 0
    saved_at: float = dataclasses.field(default_factory=time.monotonic)

    @classmethod
    def opened(
        cls,
        experiment: Experiment,
        state: State,
        observer: Observer | None,
        loggers: Loggers,
        *,
        overwrite: bool,
        from_path: pathlib.Path | None = None,
    ) -> tuple["Journal", State]:
        """Makes or reopens the folder; gives the journal, and the state from which to go on.

        Args:
          experiment: what runs.
          state: before its first round.
          observer: who watches, or None.
          loggers: that are told of every round.
          overwrite: replaces a run that the folder holds.
          from_path: the checkpoint to go on from, in the first process; None for a new run.

        Returns:
          The journal and the state.
        """
        first = processes.is_first()
        resume = processes.any_of(from_path is not None)
        journal = cls(experiment, None, observer if first else None, loggers, [], 0)
        journal.modules = module_checksums(experiment.config)
        if resume:
            state = checkpoint.restore(from_path or journal.checkpoints, state)
        journal.saved = journal.done = int(state.round)
        with processes.together():
            if first:
                journal._open(overwrite=overwrite, resume=resume)
            if journal.observer is not None:
                journal.observer.started(experiment.info, experiment.config.rounds)
        if resume:
            journal.records = json.loads(processes.text_from_first(json.dumps(journal.records)))
        return journal, state

    def _open(self, *, overwrite: bool, resume: bool) -> None:
        """Makes or reopens the folder, and begins the logs: of a new run first, which may fail."""
        experiment, config = self.experiment, self.experiment.config
        versions = results.installed_versions(experiment.info["device"])
        versions["data"] = experiment.dataset.checksum
        versions["partition"] = experiment.partition.checksum
        if experiment.init_checksum is not None:
            versions["init"] = experiment.init_checksum
        about = configs.to_yaml(config), versions
        run = beginning(config, config.out)
        kept: dict[str, dict] = {}
        if resume:
            told = len(results.read(config.out or "").records)
            self.folder, self.records = results.RunFolder.reopen(
                config.out or "", *about, rounds=self.saved
            )
            kept = self.folder.kept()
            self._tell_of_lost_clients()
            run = dataclasses.replace(run, done=self.saved, told=told)
        try:
            self.loggers.begin(run, self.records, kept)
        except BaseException:
            if self.folder is not None:
                self.folder.close()
            raise
        if config.out is not None and not resume:
            try:
                self.folder = results.RunFolder.create(config.out, *about, overwrite=overwrite)
                self.folder.describe(experiment.dataset, experiment.partition)
            except BaseException as error:
                self.failed(error)
                raise
        if self.folder is not None:
            self.folder.keep(kept)

    def _tell_of_lost_clients(self) -> None:
        """Says which rounds ``clients.csv`` lacks: those that are done are not evaluated again."""
        lost = self.folder.without_clients(self.records) if self.folder is not None else []
        if self.experiment.config.evaluate_clients and lost:
            logging.getLogger("fedcode_jax").warning(
                "fedcode: %s: lacks the clients of %d of the rounds that are done, from %d on; "
                "it goes on without them",
                pathlib.Path(self.experiment.config.out or "") / results.folder.CLIENTS,
                len(lost),
                lost[0],
            )

    @property
    def checkpoints(self) -> pathlib.Path:
        """Where they lie."""
        return pathlib.Path(self.experiment.config.out or "") / results.CHECKPOINTS

    def advanced(self, new: list[dict], state: State, found: Evaluation | None) -> None:
        """Notes the records of some rounds, and saves the state when it is time."""
        config, self.done = self.experiment.config, new[-1]["round"]
        with processes.together():
            if self.folder is not None:
                clients = []
                if config.evaluate_clients and found is not None:
                    clients = client_rows(self.experiment, self.done, found)
                self.folder.append(new, clients)
            self.loggers.rounds(new)
            if self.observer is not None:
                self.observer.advanced(new)
        is_sound = not any(has_diverged(record) for record in new)
        if config.out is not None and is_sound and self._is_time():
            self._save(state)

    def _is_time(self) -> bool:
        config = self.experiment.config
        if config.checkpoint_seconds is None:
            return is_time(config, self.done, self.saved, 0.0)
        seconds = time.monotonic() - self.saved_at if processes.is_first() else 0.0
        return processes.any_of(is_time(config, self.done, self.saved, seconds))

    def _save(self, state: State) -> None:
        with processes.together():
            about = self._origin(int(state.round)) if processes.is_first() else {}
        keep = self.experiment.config.checkpoint_keep
        checkpoint.save(self.checkpoints, state, about, keep=keep)
        self.saved, self.saved_at = int(state.round), time.monotonic()

    def _origin(self, rounds: int) -> dict[str, Any]:
        path = pathlib.Path(self.experiment.config.out or "")
        return origin_of(self.experiment, path, rounds, self.modules)

    def closed(self, outcome: Outcome, summary: dict[str, Any]) -> None:
        """Saves the last state, unless it is not finite, and writes what the run came to.

        Raises:
          CheckpointError: the state could not be saved; all else was written then.
        """
        config, failure = self.experiment.config, None
        is_new = len(outcome.records) > self.saved and outcome.status != "diverged"
        if config.out is not None and is_new:
            assert outcome.state is not None
            try:
                self._save(outcome.state)
            except CheckpointError as error:
                failure = error
        with processes.together():
            if self.folder is not None:
                # Figures first: what a picture may end in must not take them along.
                self.folder.finish(summary, evaluation_of(self.experiment, outcome))
                path = self.folder.path / results.CURVES
                results.plot_curves({curves_label(config): outcome.records}, path)
                self.folder.close()
            if self.observer is not None:
                self.observer.finished(summary)
            self.loggers.end(summary)
        if failure is not None:
            raise failure

    def failed(self, error: BaseException) -> None:
        """Tells the loggers of a run that ends in an error, or by a second interrupt."""
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self.loggers.end({"status": status, "error": one_line(error), "rounds": self.done})
        if self.folder is not None:
            self.folder.close()


def curves_label(config: ExperimentConfig) -> str:
    """What the curves of a run are called.

    Example:
      >>> curves_label(ExperimentConfig())
      'fedcode on digits'
    """
    return f"{config.algorithm.name} on {config.data.name}"


def beginning(
    config: ExperimentConfig,
    folder: str | os.PathLike[str] | None,
    group: pathlib.Path | None = None,
) -> Beginning:
    """What loggers are told of a new run.

    Args:
      config: of it.
      folder: of it, or None.
      group: the folder of the sweep that it is of, or None.
    """
    path = None if folder is None else pathlib.Path(folder)
    name = f"{config.algorithm.name}-{config.data.name}"
    if path is not None:
        name = path.name if group is None else f"{group.name}/{path.name}"
    return Beginning(
        settings=configs.flattened(configs.to_dict(config)),
        name=name,
        group=None if group is None else group.name,
        folder=path,
        shared=path if group is None else group,
    )
