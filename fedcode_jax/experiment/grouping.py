"""The experiments of a sweep that can share one program, and what each is made of."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fedcode_jax import config as configs
from fedcode_jax.clients import ClientData
from fedcode_jax.config import ExperimentConfig, check_schedule
from fedcode_jax.config.choice import parameters
from fedcode_jax.data import Dataset
from fedcode_jax.data.partition import Partition
from fedcode_jax.experiment.blueprint import Blueprint
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.experiment.starting import check_fit, first_weights, read
from fedcode_jax.names import is_given
from fedcode_jax.results.model_files import Variables, checksum
from fedcode_jax.simulation import EvaluationData
from fedcode_jax.simulation.fleet import Member

_TRACED = (
    "seed",
    "out",
    "checkpoint_every",
    "checkpoint_seconds",
    "checkpoint_keep",
    "init",
    "init_skip",
    "log",
    "partition",
    "schedule",
    "network",
    "faults",
    "local.learning_rate",
)
"""What changes no shape but the numbers of clients and of their samples, and so may differ between
experiments of one program."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One experiment of a sweep.

    Attributes:
      number: its place in the sweep, from 0.
      point: value by setting of the axes.
      config: all of it.
    """

    number: int
    point: dict[str, Any]
    config: ExperimentConfig


@dataclasses.dataclass
class Group:
    """Experiments of equal shapes.

    Attributes:
      experiments: in the order of the sweep.
      max_size: the largest number of samples of any client in any of them.
      max_samples: the largest number of samples of all clients together.
      one_dataset: all have the same samples.
    """

    experiments: list[Planned]
    max_size: int = 0
    max_samples: int = 0
    one_dataset: bool = True


class Shelf:
    """Data sets and partitions, made once for all experiments that have the same.

    Attributes:
      parts: what builds them.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._datasets: dict[Any, Dataset] = {}
        self._partitions: dict[Any, Partition] = {}
        self._clients: dict[int, ClientData] = {}
        self._tests: dict[int, tuple[int, EvaluationData]] = {}
        self._inits: dict[str, Variables] = {}

    def blueprint(self, config: ExperimentConfig) -> Blueprint:
        """What a config comes to."""
        key = _dataset_key(config)
        if key not in self._datasets:
            self._datasets[key] = self.parts.dataset(config)
        dataset = self._datasets[key]
        dealt = id(dataset), _key(config, "partition"), config.partition.drawn_by(config.seed)
        if dealt not in self._partitions:
            if len(self._partitions) >= _MOST_PARTITIONS:
                self._partitions.clear()
            self._partitions[dealt] = self.parts.partition(config, dataset)
        return Blueprint(config, self.parts, dataset, self._partitions[dealt])

    def keep(self, groups: Sequence[Group]) -> None:
        """Drops the data sets that no experiment of these groups has, and all that is of them."""
        wanted = {_dataset_key(one.config) for group in groups for one in group.experiments}
        self._datasets = {key: each for key, each in self._datasets.items() if key in wanted}
        held = {id(dataset) for dataset in self._datasets.values()}
        self._partitions = {key: each for key, each in self._partitions.items() if key[0] in held}
        self._clients = {key: each for key, each in self._clients.items() if key in held}
        self._tests = {key: each for key, each in self._tests.items() if key in held}

    def init(self, config: ExperimentConfig) -> Variables | None:
        """What ``init`` of a config names."""
        if config.init is None:
            return None
        if config.init not in self._inits:
            self._inits[config.init] = read(config.init)
        return self._inits[config.init]

    def init_checksum(self, config: ExperimentConfig) -> str | None:
        """The checksum of what ``init`` names."""
        found = self.init(config)
        return None if found is None else checksum(found)

    def member(self, blueprint: Blueprint, group: Group, batch_size: int) -> Member:
        """What an experiment is made of, padded to the shapes of its group."""
        partition, which = blueprint.partition, id(blueprint.dataset)
        if which not in self._clients:
            self._clients[which] = blueprint.clients()
        if which not in self._tests or self._tests[which][0] != batch_size:
            test = blueprint.test(batch_size=batch_size, devices=1)
            self._tests[which] = batch_size, test
        held = np.concatenate(partition.clients)
        sizes = partition.sizes.astype(np.int32)
        rows: dict[str, Any] = {
            "order": np.pad(held, (0, group.max_samples - len(held))).astype(np.int32),
            "offsets": np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32),
            "sizes": sizes,
        }
        return Member(
            weights=first_weights(blueprint, self.init(blueprint.config)),
            data=self._clients[which]._replace(**rows),
            test=self._tests[which][1]._replace(shares=blueprint.shares, owners=blueprint.owners),
            settings=blueprint.settings,
        )


_MOST_PARTITIONS = 256


def grouped(
    experiments: Sequence[Planned], shelf: Shelf
) -> tuple[list[Group], list[tuple[Planned, Exception]]]:
    """Sorts experiments into groups that can share a program.

    Args:
      experiments: of a sweep.
      shelf: of data sets and partitions.

    Returns:
      The groups, and the experiments whose data, partition or first weights cannot be made, with
      the error.
    """
    groups: dict[Any, Group] = {}
    datasets: dict[Any, set[int]] = {}
    failed: list[tuple[Planned, Exception]] = []
    for one in experiments:
        try:
            blueprint = shelf.blueprint(one.config)
            key = _signature(blueprint)
            # What is traced may be refused as well.
            shelf.parts.optimizer(one.config)
            found = shelf.init(one.config)
            if found is not None:
                check_fit(blueprint, found)
            check_schedule(one.config, shelf.parts.algorithm(one.config).schedule is not None)
        except Exception as error:  # a part of one's own may raise anything
            failed.append((one, error))
            continue
        group = groups.setdefault(key, Group([]))
        group.experiments.append(one)
        group.max_size = max(group.max_size, int(blueprint.partition.sizes.max()))
        group.max_samples = max(group.max_samples, int(blueprint.partition.sizes.sum()))
        datasets.setdefault(key, set()).add(id(blueprint.dataset))
        group.one_dataset = len(datasets[key]) == 1
    return list(groups.values()), failed


def _signature(blueprint: Blueprint) -> Any:
    """All that changes a shape or the program itself."""
    settings, data = configs.to_dict(blueprint.config), blueprint.dataset
    return (
        json.dumps(without_traced(settings), sort_keys=True),
        blueprint.partition.num_clients,
        blueprint.cohort,
        blueprint.sketched,
        (data.train_x.shape, str(data.train_x.dtype), data.test_x.shape, data.num_classes),
        None if data.test_user is None else int(data.test_user.max()),
        jax.tree.structure(blueprint.settings),  # with the rules of the schedule
    )


def _dataset_key(config: ExperimentConfig) -> Any:
    """What tells data sets apart."""
    drawn = not is_given(config.data.name) and "seed" in parameters(config.data.factory())
    return _key(config, "data"), config.seed if drawn else None


def without_traced(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of an experiment, as of ``to_dict``, but for what changes no program."""
    kept = {name: dict(v) if isinstance(v, dict) else v for name, v in settings.items()}
    for name in _TRACED:
        section, _, last = name.rpartition(".")
        del (kept[section] if section else kept)[last]
    return kept


def _key(config: ExperimentConfig, section: str) -> str:
    return json.dumps(configs.to_dict(config)[section], sort_keys=True)
