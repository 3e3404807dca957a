"""What a run tells those who watch it, and writes into its folder as it goes."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.experiment.building import Experiment
from fedcode_jax.experiment.closing import evaluation_of
from fedcode_jax.simulation import Outcome, State, checkpoint, processes


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
    """What a run tells and writes as it goes; only the first process has a folder and an observer.

    Attributes:
      experiment: what runs.
      folder: of the run, or None.
      observer: who watches, or None.
      records: of the rounds that an earlier start has done.
      saved: the last round of which there is a checkpoint.
    """

    experiment: Experiment
    folder: results.RunFolder | None
    observer: Observer | None
    records: list[dict]
    saved: int

    @classmethod
    def opened(
        cls,
        experiment: Experiment,
        state: State,
        observer: Observer | None,
        *,
        overwrite: bool,
        resume: bool,
    ) -> tuple["Journal", State]:
        """Makes or reopens the folder; gives the journal, and the state from which to go on."""
        config, first = experiment.config, processes.is_first()
        text = configs.to_yaml(config)
        versions = results.installed_versions(experiment.info["device"])
        if experiment.init_checksum is not None:
            versions["init"] = experiment.init_checksum
        journal = cls(experiment, None, observer if first else None, [], 0)
        if resume:
            with processes.together():
                latest = checkpoint.latest(journal.checkpoints) if first else journal.checkpoints
            state = checkpoint.restore(latest, state)
        journal.saved = int(state.round)
        with processes.together():
            if first and resume:
                journal.folder, journal.records = results.RunFolder.reopen(
                    config.out or "", text, versions, rounds=journal.saved
                )
            elif first and config.out is not None:
                folder = results.RunFolder.create(config.out, text, versions, overwrite=overwrite)
                folder.describe(experiment.dataset, experiment.partition)
                journal.folder = folder
            if journal.observer is not None:
                journal.observer.started(experiment.info, config.rounds)
        if resume:
            journal.records = json.loads(processes.text_from_first(json.dumps(journal.records)))
        return journal, state

    @property
    def checkpoints(self) -> pathlib.Path:
        """Where they lie."""
        return pathlib.Path(self.experiment.config.out or "") / results.CHECKPOINTS

    def advanced(self, new: list[dict], state: State) -> None:
        """Notes the records of an evaluation, and saves the state when it is time."""
        with processes.together():
            if self.folder is not None:
                self.folder.append(new)
            if self.observer is not None:
                self.observer.advanced(new)
        config, done = self.experiment.config, new[-1]["round"]
        if config.out and config.checkpoint_every and done - self.saved >= config.checkpoint_every:
            checkpoint.save(self.checkpoints, state)
            self.saved = done

    def closed(self, outcome: Outcome, summary: dict[str, Any]) -> None:
        """Saves the last state, and writes what the run came to."""
        config = self.experiment.config
        if config.out is not None and len(outcome.records) > self.saved:
            assert outcome.state is not None
            checkpoint.save(self.checkpoints, outcome.state)
        with processes.together():
            if self.folder is not None:
                label = f"{summary['algorithm']} on {config.data.name}"
                path = self.folder.path / results.CURVES
                results.plot_curves({label: outcome.records}, path)
                self.folder.finish(summary, evaluation_of(self.experiment, outcome))
            if self.observer is not None:
                self.observer.finished(summary)
