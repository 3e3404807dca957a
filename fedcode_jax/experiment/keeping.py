"""Checkpoints of the experiments of a sweep, by which a killed one goes on."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from fedcode_jax import results
from fedcode_jax.errors import CheckpointError
from fedcode_jax.experiment.building import Experiment
from fedcode_jax.experiment.grouping import Planned
from fedcode_jax.experiment.origin import module_checksums, origin_of
from fedcode_jax.results.rows import columns_of, csv_text, read_rows
from fedcode_jax.results.run_files import CLIENTS, METRICS
from fedcode_jax.results.writing import lines, named, write_atomically
from fedcode_jax.simulation import State, checkpoint


@dataclasses.dataclass(frozen=True)
class Begun:
    """What an earlier start has done of an experiment.

    Attributes:
      round: rounds done.
      records: of these.
      clients: rows of ``clients.csv`` of these.
      path: the checkpoint to go on from; None for the beginning.
    """

    round: int = 0
    records: Sequence[dict] = ()
    clients: Sequence[dict] = ()
    path: pathlib.Path | None = None

    def state(self, like: State) -> State:
        """The state to go on from, on the host; ``like`` gives its shapes."""
        assert self.path is not None
        return checkpoint.read(self.path, like)


class Keeper:
    """Saves the states of experiments into the folder of a sweep, and finds them there.

    Args:
      folder: of the sweep.
    """

    def __init__(self, folder: results.SweepFolder) -> None:
        self._folder = folder
        self._modules: dict[str, str] = {}  # of one's own, as they were when they were first met

    def save(
        self,
        one: Planned,
        experiment: Experiment,
        state: State,
        records: Sequence[dict],
        clients: Sequence[dict],
    ) -> None:
        """Writes a checkpoint, and the records that lead to it.

        Args:
          one: the experiment.
          experiment: the same, built.
          state: on the host.
          records: one a round.
          clients: rows for ``clients.csv``.

        Raises:
          CheckpointError: it cannot be written.
        """
        path = self._folder.begun(one.number)
        with named(path):
            path.mkdir(exist_ok=True)
            write_atomically(path / METRICS, lines(records))
            if clients:
                write_atomically(path / CLIENTS, csv_text(clients, columns_of(clients)))
        about = origin_of(experiment, path, len(records), self._checksums(one))
        keep = one.config.checkpoint_keep
        checkpoint.save(path / results.CHECKPOINTS, state, about, keep=keep)

    def _checksums(self, one: Planned) -> dict[str, str]:
        found = module_checksums(one.config)
        return {name: self._modules.setdefault(name, its) for name, its in found.items()}

    def has(self, one: Planned) -> bool:
        """Whether there are checkpoints of an experiment."""
        return bool(checkpoint.rounds(self._folder.begun(one.number) / results.CHECKPOINTS))

    def begun(self, one: Planned, experiment: Experiment) -> Begun:
        """What an earlier start has done of an experiment, by the latest checkpoint that is whole.

        One that is of another version, data set or partition is told of, and left out.

        Args:
          one: the experiment.
          experiment: the same, built.
        """
        folder = self._folder.begun(one.number)
        try:
            path, manifest = checkpoint.latest(folder / results.CHECKPOINTS)
            here = origin_of(experiment, folder, manifest.round, self._checksums(one))
            checkpoint.check_origin(path, manifest.origin, here)
            clients = _clients(folder / CLIENTS, manifest.round)
            records = (folder / METRICS).read_bytes().split(b"\n")[: manifest.round]
        except CheckpointError as error:
            logging.getLogger("fedcode_jax").warning(
                "fedcode: experiment %d begins anew: %s", one.number, error
            )
            return Begun()
        return Begun(manifest.round, [json.loads(record) for record in records], clients, path)


def _clients(path: pathlib.Path, last: int) -> list[dict[str, Any]]:
    """The rows of rounds up to ``last``."""
    if not path.exists():
        return []
    return [row for row in read_rows(path) if int(row["round"]) <= last]
