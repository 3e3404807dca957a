"""What is tried: schedules and codebook sizes, and the yardsticks beside them."""

from typing import Any, NamedTuple

from fedcode_jax.config import ExperimentConfig

AXIS = (
    "algorithm.name",
    "algorithm.num_clusters",
    "schedule.name",
    "schedule.start",
    "schedule.server_period",
    "schedule.client_period",
)
"""The settings in which choices differ."""

_PERIODS = ((1, 1), (2, 1), (5, 2), (5, 5), (10, 10), (20, 20))
"""f1 and f2, from a calibration every round to one every 20."""


class Choice(NamedTuple):
    """A value for each setting of ``AXIS``."""

    algorithm: str
    num_clusters: int
    schedule: str
    start: int
    server_period: int
    client_period: int

    @property
    def settings(self) -> dict[str, Any]:
        """Value by dotted name."""
        return dict(zip(AXIS, self, strict=True))

    @property
    def kind(self) -> str:
        """Algorithm and rule, without numbers."""
        name = {"fedcode": "FedCode", "skip": "skip", "fedavg": "FedAvg"}[self.algorithm]
        return name if self.algorithm == "fedavg" else f"{name}, {self.schedule}"

    def __str__(self) -> str:
        if self.algorithm == "fedavg":
            return "FedAvg"
        name = {"fedcode": "FedCode", "skip": "skip"}[self.algorithm]
        pace = f"f1 {self.server_period}, f2 {self.client_period}"
        rules = {"paired": "paired, ", "warmup": "warm-up, up to ", "late": "late, from "}
        rule = rules.get(self.schedule, "")
        return f"{name} K {self.num_clusters}, {rule}{pace}, start {self.start}"


def yardstick(config: ExperimentConfig) -> Choice:
    """FedAvg, which the floor may be measured from."""
    return Choice("fedavg", config.algorithm.num_clusters, "periodic", 2, 1, 1)


def choices(config: ExperimentConfig) -> list[Choice]:
    """What is tried for an experiment, FedAvg apart.

    FedCode with K and K / 4 centers: the paper's schedule with periods from 1 to 20; the same
    paired, where both periods are equal; and in gaps that double or, with K centers, halve.
    ``skip`` with K centers, which sends nothing between calibrations: the same.

    Args:
      config: the experiment; its K counts, and its rounds, which a period must fit twice.

    Returns:
      The choices.

    Example:
      >>> len(choices(ExperimentConfig()))
      34
    """
    K = config.algorithm.num_clusters
    sizes = sorted({K, max(2, K // 4)}, reverse=True)
    periods = [pair for pair in _PERIODS if 2 * max(pair) <= config.rounds] or [(1, 1)]
    rare = [pair for pair in periods if min(pair) >= 10]
    equal = [pair for pair in periods if pair[0] == pair[1] > 1]
    tried = []
    for size in sizes:
        tried += [Choice("fedcode", size, "periodic", 2, *pair) for pair in periods]
        tried += [Choice("fedcode", size, "paired", 2, *pair) for pair in equal]
        tried += [Choice("fedcode", size, "warmup", 2, *pair) for pair in rare]
    tried += [Choice("fedcode", K, "late", 2, *pair) for pair in rare]
    tried += [Choice("skip", K, "periodic", 2, *pair) for pair in periods if max(pair) > 1]
    tried += [Choice("skip", K, "paired", 2, *pair) for pair in equal]
    tried += [Choice("skip", K, "warmup", 2, *pair) for pair in rare]
    return tried
