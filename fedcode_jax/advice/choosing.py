"""From runs over seeds to a recommendation: estimates, their uncertainty, and the choice."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fedcode_jax.advice.choices import Choice
from fedcode_jax.results import intervals

_CONFIDENCE = 0.9
"""Of two-sided intervals: a floor that the lower end keeps is kept with 95 % confidence."""

Objective = Literal["bytes", "seconds"]

Outcome = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]
"""Summary and records of a run."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a choice comes to, over its seeds.

    Attributes:
      choice: what was run.
      seeds: how many runs count.
      failed: how many diverged or failed.
      accuracy: mean over the seeds of ``steady_accuracy``.
      half_width: of its 90 % interval; infinite with one seed.
      loss: mean, seed by seed, of FedAvg's accuracy less this.
      loss_half_width: of its 90 % interval, of paired differences.
      bytes: mean bytes of a run, both ways, all clients.
      seconds: mean simulated seconds of a run.
    """

    choice: Choice
    seeds: int
    failed: int
    accuracy: float
    half_width: float
    loss: float
    loss_half_width: float
    bytes: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The recommendation.

    Attributes:
      status: ``kept``, the floor is kept with 95 % confidence; ``likely``, it is kept in the mean,
        but not with that confidence; ``impossible``, nothing that was tried keeps it.
      best: the recommended choice; the most accurate one where the floor is impossible.
      cheaper: the next cheaper choice that loses least, or None.
      safer: the cheapest choice among those whose floor is safer, or None.
    """

    status: Literal["kept", "likely", "impossible"]
    best: Estimate
    cheaper: Estimate | None
    safer: Estimate | None


@dataclasses.dataclass(frozen=True)
class Floor:
    """The accuracy that must be kept.

    Attributes:
      accuracy: as a fraction, or None.
      loss: against FedAvg, as a fraction, or None; one of the two is given.
    """

    accuracy: float | None = None
    loss: float | None = None

    def margin(self, estimate: Estimate) -> tuple[float, float]:
        """By how much a choice lies above the floor, and the half width of that figure."""
        if self.accuracy is not None:
            return estimate.accuracy - self.accuracy, estimate.half_width
        assert self.loss is not None
        return self.loss - estimate.loss, estimate.loss_half_width

    def __str__(self) -> str:
        if self.accuracy is not None:
            return f"an accuracy of {100 * self.accuracy:g} %"
        return f"at most {100 * (self.loss or 0):g} points under FedAvg"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half width of its 90 % interval by Student's t.

    Args:
      values: one a seed.

    Returns:
      Both nan for no value; the half width is infinite for one.

    Example:
      >>> [round(x, 3) for x in interval([0.9, 0.92, 0.94])]
      [0.92, 0.034]
    """
    found = intervals.interval(values, _CONFIDENCE)
    if not found.n:
        return math.nan, math.nan
    return found.mean, math.inf if found.half_width is None else found.half_width


def steady_accuracy(records: Sequence[Mapping[str, Any]], period: int | None) -> float:
    """Accuracy of the deployed model, mean of as many last periods as have ten rounds.

    Args:
      records: one a round.
      period: rounds over which the schedule repeats; None if it does not: the last ten rounds.

    Returns:
      The mean over the evaluated rounds among them; nan if there are none.

    Example:
      >>> steady_accuracy([{"deployed_accuracy": x} for x in (0.0, 0.5, 1.0)], 1)
      0.5
    """
    window = _STEADY if period is None else -(-_STEADY // period) * period
    values = [record["deployed_accuracy"] for record in records[-window:]]
    return interval([value for value in values if value is not None])[0]


_STEADY = 10


def estimate(
    choice: Choice, runs: Mapping[int, Outcome], yardsticks: Mapping[int, Outcome]
) -> Estimate:
    """What a choice comes to.

    Args:
      choice: the choice.
      runs: its runs by seed: each a summary and records.
      yardsticks: those of FedAvg.

    Returns:
      The estimate; a loss counts the seeds that both have.
    """
    done = {seed: run for seed, run in runs.items() if run[0]["status"] == "completed"}

    def accuracy_of(run: Outcome) -> float:
        return steady_accuracy(run[1], run[0]["period"])

    accuracy = {seed: accuracy_of(run) for seed, run in done.items()}
    losses = [
        accuracy_of(yardsticks[seed]) - value
        for seed, value in accuracy.items()
        if seed in yardsticks and yardsticks[seed][0]["status"] == "completed"
    ]

    def mean(figure: str) -> float:
        return interval([summary[figure] for summary, _ in done.values()])[0]

    return Estimate(
        choice,
        len(done),
        len(runs) - len(done),
        *interval(list(accuracy.values())),
        *interval(losses),
        mean("total_uplink_bytes") + mean("total_downlink_bytes"),
        mean("simulated_seconds"),
    )


def promising(
    estimates: Sequence[Estimate], floor: Floor, objective: Objective, number: int
) -> list[Choice]:
    """The choices that deserve more seeds.

    Args:
      estimates: after a few seeds.
      floor: what must be kept.
      objective: what is to be little.
      number: at most.

    Returns:
      The cheapest ones that may keep the floor, and the most accurate one.
    """
    usable = [each for each in estimates if each.seeds and not each.failed]
    if not usable:
        return []
    # With two or three seeds an interval is hardly known: half a point is the least doubt.
    kept = [e for e in usable if floor.margin(e)[0] > -_DOUBT]
    kept.sort(key=lambda each: getattr(each, objective))
    safest = max(usable, key=lambda each: floor.margin(each)[0])
    chosen = [each.choice for each in kept[: number - 1]]
    return [*chosen, *([safest.choice] if safest.choice not in chosen else [])]


_DOUBT = 0.005


def decide(estimates: Sequence[Estimate], floor: Floor, objective: Objective) -> Verdict | None:
    """The recommendation.

    The cheapest choice that keeps the floor with 95 % confidence; if there is none, the one most
    likely to keep it; if none keeps it even in the mean, the most accurate.

    Args:
      estimates: of all choices; those of few seeds have wide intervals.
      floor: what must be kept.
      objective: ``bytes`` or ``seconds``, what is to be little.

    Returns:
      The verdict, or None if no run was completed.
    """
    usable = [each for each in estimates if each.seeds and not each.failed]
    if not usable:
        return None

    def cost(each: Estimate) -> float:
        return float(getattr(each, objective))

    def least(each: Estimate) -> float:
        margin, half_width = floor.margin(each)
        return margin - half_width

    sure = [each for each in usable if least(each) >= 0]
    likely = [each for each in usable if floor.margin(each)[0] >= 0]
    if sure:
        best, status = min(sure, key=cost), "kept"
    elif likely:
        best, status = max(likely, key=lambda each: (least(each), -cost(each))), "likely"
    else:
        best, status = max(usable, key=lambda each: floor.margin(each)[0]), "impossible"
    cheaper = [each for each in usable if cost(each) < cost(best)]
    safer = [
        each for each in usable if floor.margin(each)[0] > floor.margin(best)[0] and each != best
    ]
    return Verdict(
        status,  # type: ignore[arg-type]
        best,
        max(cheaper, key=lambda each: floor.margin(each)[0], default=None),
        min(safer, key=cost, default=None),
    )
