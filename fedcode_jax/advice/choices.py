"""What is tried: schedules and codebook sizes, and the yardsticks beside them."""

from typing import Any, NamedTuple

from fedcode_jax.config import ExperimentConfig
from fedcode_jax.names import is_given, is_own

_PERIODS = ((1, 1), (2, 1), (5, 2), (5, 5), (10, 10), (20, 20))
"""f1 and f2, from a calibration every round to one every 20."""

_START = 2


_NAMES = {"fedcode": "FedCode", "skip": "skip", "fedavg": "FedAvg"}


class Choice(NamedTuple):
    """What is tried: an algorithm with a schedule.

    Attributes:
      algorithm: its name; one of your own is tried as the experiment has it, with its schedule.
      num_clusters: K, where it has codebooks.
      schedule: the rule.
      start: of the rule.
      server_period: f1.
      client_period: f2.
      coding: how codes are written, where it has any.
    """

    algorithm: str
    num_clusters: int = 64
    schedule: str = "periodic"
    start: int = _START
    server_period: int = 1
    client_period: int = 1
    coding: str = "conditional"

    @property
    def settings(self) -> dict[str, Any]:
        """Value by dotted name, of what an experiment is changed in; nothing for one's own."""
        if self.algorithm not in _NAMES:
            return {}
        coded = {
            "algorithm.num_clusters": self.num_clusters,
            "algorithm.coding": self.coding,
        }
        return {
            "algorithm.name": self.algorithm,
            **({} if self.algorithm == "fedavg" else coded),
            "schedule.name": self.schedule,
            "schedule.start": self.start,
            "schedule.server_period": self.server_period,
            "schedule.client_period": self.client_period,
        }

    @property
    def called(self) -> str:
        """The algorithm, as it is written."""
        return _NAMES.get(self.algorithm, self.algorithm)

    @property
    def rule(self) -> str:
        """The rule of its schedule; empty where it follows none."""
        return self.schedule if self.algorithm in ("fedcode", "skip") else ""

    def __str__(self) -> str:
        if not self.rule:
            return self.called
        pace = f"f1 {self.server_period}, f2 {self.client_period}"
        rules = {"paired": "paired, ", "warmup": "warm-up, up to ", "late": "late, from "}
        rule = rules.get(self.schedule, "")
        return f"{self.called} K {self.num_clusters}, {rule}{pace}, start {self.start}"


def yardstick(config: ExperimentConfig) -> Choice:
    """FedAvg, which the floor may be measured from."""
    return Choice("fedavg", _centers(config))


def _centers(config: ExperimentConfig) -> int:
    return getattr(config.algorithm, "num_clusters", 0) or Choice("fedcode").num_clusters


def _coding(config: ExperimentConfig) -> str:
    own = getattr(config.algorithm, "coding", "fixed")
    return Choice("fedcode").coding if own == "fixed" else own


def choices(config: ExperimentConfig) -> list[Choice]:
    """What is tried for an experiment, FedAvg apart.

    An algorithm of your own first, if the experiment has one.
    FedCode: the paper's schedule with periods from 1 to 20; where both periods are equal, the same
    paired, and with gaps that double or halve; rare calibrations also after a start of a sixth of
    the rounds. FedCode with K / 4 centers and ``skip``, which sends nothing between calibrations:
    most of these again. Codes are written given those that both sides hold, which takes half the
    bytes of the paper's and changes no weight.

    Args:
      config: the experiment; its K counts, its rounds, which a period must fit twice, and its
        coding, unless that is the paper's.

    Returns:
      The choices.

    Example:
      >>> tried = choices(ExperimentConfig(rounds=60))
      >>> len(tried), sorted({choice.start for choice in tried})
      (30, [2, 10])
    """
    K, coding = _centers(config), _coding(config)
    few = max(2, K // 4)
    periods = [pair for pair in _PERIODS if 2 * max(pair) <= config.rounds] or [(1, 1)]
    equal = [pair for pair in periods if pair[0] == pair[1] > 1]
    unequal = [pair for pair in periods if pair[0] != pair[1]]
    rare = [pair for pair in equal if pair[0] >= 10]
    starts = sorted({_START, max(_START, config.rounds // 6)})

    def paced(algorithm: str, size: int, rule: str, pairs: list[tuple[int, int]]) -> list[Choice]:
        return [Choice(algorithm, size, rule, _START, *pair, coding) for pair in pairs]

    own = config.algorithm.name
    tried = [Choice(own)] if is_own(own) or is_given(own) else []
    tried += paced("fedcode", K, "periodic", periods)
    tried += paced("fedcode", K, "late", rare)
    tried += paced("fedcode", few, "periodic", periods[:1])
    tried += paced("skip", K, "periodic", unequal)
    for algorithm, size in (("fedcode", K), ("fedcode", few), ("skip", K)):
        tried += paced(algorithm, size, "paired", equal)
        tried += paced(algorithm, size, "warmup", rare)
    for algorithm in ("fedcode", "skip"):
        tried += [
            Choice(algorithm, K, "paired", start, *pair, coding)
            for start in starts[1:]
            for pair in rare
        ]
    return list(dict.fromkeys(tried))
