"""The experiments of a sweep that can share one program, and what each is made of."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedcode_jax import config as configs
from fedcode_jax.clients import ClientData
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.data import Dataset
from fedcode_jax.data.partition import Partition
from fedcode_jax.errors import FedcodeError
from fedcode_jax.experiment import materials
from fedcode_jax.simulation import EvaluationData
from fedcode_jax.simulation.fleet import Member

_TRACED_SECTIONS = ("schedule", "network")
_TRACED = (
    "seed",
    "out",
    "checkpoint_every",
    "partition.name",
    "partition.alpha",
    "partition.classes_per_client",
    "partition.min_size",
    "local.learning_rate",
)
"""Settings that change no shape, and so may differ between experiments of one program."""


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
    """Data sets and partitions, made once for all experiments that have the same."""

    def __init__(self) -> None:
        self._datasets: dict[Any, Dataset] = {}
        self._partitions: dict[Any, Partition] = {}
        self._clients: dict[int, ClientData] = {}
        self._tests: dict[int, EvaluationData] = {}

    def dataset(self, config: ExperimentConfig) -> Dataset:
        """The data set of a config."""
        # Only synthetic samples depend on the seed.
        key = _key(config, ("data",)), config.seed if config.data.name == "synthetic" else None
        if key not in self._datasets:
            self._datasets[key] = materials.dataset_of(config)
        return self._datasets[key]

    def partition(self, config: ExperimentConfig) -> Partition:
        """The partition of a config."""
        dataset = self.dataset(config)
        key = id(dataset), _key(config, ("partition",)), config.seed
        if key not in self._partitions:
            if len(self._partitions) >= _MOST_PARTITIONS:
                self._partitions.clear()
            self._partitions[key] = materials.partition_of(config, dataset)
        return self._partitions[key]

    def member(self, config: ExperimentConfig, group: Group, batch_size: int) -> Member:
        """What a config's experiment is made of, padded to the shapes of its group."""
        dataset, partition = self.dataset(config), self.partition(config)
        if id(dataset) not in self._clients:
            self._clients[id(dataset)] = materials.clients_of(dataset, partition)
            self._tests[id(dataset)] = materials.test_of(
                dataset, partition, batch_size=batch_size, devices=1
            )
        held = np.concatenate(partition.clients)
        sizes = np.array([len(indices) for indices in partition.clients], np.int32)
        rows: dict[str, Any] = {
            "order": np.pad(held, (0, group.max_samples - len(held))).astype(np.int32),
            "offsets": np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32),
            "sizes": sizes,
        }
        counts = partition.counts(dataset.train_y, dataset.num_classes)
        shares = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
        return Member(
            weights=materials.weights_of(config, dataset),
            data=self._clients[id(dataset)]._replace(**rows),
            test=self._tests[id(dataset)]._replace(shares=shares),
            settings=materials.settings_of(config, partition.num_clients),
        )


_MOST_PARTITIONS = 256


def grouped(
    experiments: Sequence[Planned], shelf: Shelf
) -> tuple[list[Group], list[tuple[Planned, FedcodeError]]]:
    """Sorts experiments into groups that can share a program.

    Args:
      experiments: of a sweep.
      shelf: of data sets and partitions.

    Returns:
      The groups, and the experiments whose data or partition cannot be made, with the error.
    """
    groups: dict[Any, Group] = {}
    datasets: dict[Any, set[int]] = {}
    failed = []
    for one in experiments:
        try:
            dataset, partition = shelf.dataset(one.config), shelf.partition(one.config)
            cohort = materials.cohort_of(one.config, partition)
            materials.settings_of(one.config, partition.num_clients)  # reads network.table
        except FedcodeError as error:
            failed.append((one, error))
            continue
        sizes = [len(indices) for indices in partition.clients]
        key = (
            _signature(one.config),
            partition.num_clients,
            cohort,
            materials.is_sketched(one.config),
        )
        group = groups.setdefault(key, Group([]))
        group.experiments.append(one)
        group.max_size = max(group.max_size, *sizes)
        group.max_samples = max(group.max_samples, sum(sizes))
        datasets.setdefault(key, set()).add(id(dataset))
        group.one_dataset = len(datasets[key]) == 1
    return list(groups.values()), failed


def _signature(config: ExperimentConfig) -> str:
    """All settings that change a shape or the program itself."""
    settings = configs.to_dict(config)
    for section in _TRACED_SECTIONS:
        del settings[section]
    for name in _TRACED:
        *sections, last = name.split(".")
        place = settings
        for section in sections:
            place = place[section]
        del place[last]
    return json.dumps(settings, sort_keys=True)


def _key(config: ExperimentConfig, sections: Sequence[str]) -> str:
    settings = configs.to_dict(config)
    return json.dumps([settings[section] for section in sections], sort_keys=True)
