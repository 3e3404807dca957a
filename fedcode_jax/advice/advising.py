"""Runs what must be tried, in two stages, and decides."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from fedcode_jax import config as configs
from fedcode_jax.advice.choices import AXIS, Choice, choices, yardstick
from fedcode_jax.advice.choosing import (
    Estimate,
    Floor,
    Objective,
    Outcome,
    Verdict,
    decide,
    estimate,
    promising,
)
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment import SweepObserver, SweepRun, sweep

_FIRST_SEEDS = 2
_FINALISTS = 5


@dataclasses.dataclass(frozen=True)
class Advice:
    """An answer.

    Attributes:
      config: the experiment that was asked about.
      floor: what must be kept.
      objective: what is to be little: ``bytes`` or ``seconds``.
      yardstick: FedAvg's estimate.
      estimates: of all choices, the cheapest first.
      verdict: the recommendation.
      recommended: the experiment with the recommended settings, ready to run.
      every_round: records of calibrations in every round, by seed: what a pilot would see.
      records: of the recommended choice, by seed.
    """

    config: ExperimentConfig
    floor: Floor
    objective: Objective
    yardstick: Estimate
    estimates: list[Estimate]
    verdict: Verdict
    recommended: ExperimentConfig
    every_round: list[list[dict[str, Any]]]
    records: list[list[dict[str, Any]]]


def advise(
    config: ExperimentConfig,
    *,
    floor: Floor,
    objective: Objective = "bytes",
    seeds: int = 5,
    out: str | None = None,
    observer: SweepObserver | None = None,
) -> Advice:
    """Finds the cheapest schedule that keeps an accuracy.

    All choices and FedAvg are run with two seeds; the cheapest ones that may keep the floor, and
    the most accurate, with the others. Accuracy is that of the deployed model, mean of the last
    period; a loss against FedAvg is taken seed by seed, so that what the seeds have in common does
    not count.

    Args:
      config: data, model, network, devices, rounds; its algorithm settings but for the name and K
        apply to all choices.
      floor: what must be kept.
      objective: ``bytes`` or ``seconds``, what is to be little.
      seeds: runs of the choices that come last into question, from ``config.seed`` on, at least 3.
      out: folder for the two sweeps, to go on after an interruption; None keeps nothing.
      observer: is told of the progress of each sweep.

    Returns:
      The advice.

    Raises:
      ConfigError: a setting that cannot be used, or nothing that ran to its end.
    """
    check(floor, objective, seeds)
    first = [config.seed + i for i in range(min(_FIRST_SEEDS, seeds))]
    rest = [config.seed + i for i in range(len(first), seeds)]
    tried = [yardstick(config), *choices(config)]
    runs = _run(config, tried, first, _part(out, "first"), observer)
    finalists = [
        yardstick(config),
        *promising(_estimates(runs, tried), floor, objective, _FINALISTS),
    ]
    # Another floor has other finalists, and the same folder may hold both.
    told = hashlib.sha256(repr((finalists, rest)).encode()).hexdigest()[:8]
    runs += _run(config, finalists, rest, _part(out, f"finalists-{told}"), observer)
    estimates = _estimates(runs, tried)
    verdict = decide(estimates, floor, objective)
    if verdict is None:
        raise ConfigError(
            "advise: no run came to its end; see the errors in the sweeps' results.csv, or set a "
            "smaller local.learning_rate"
        )
    every_round = Choice("fedcode", config.algorithm.num_clusters, "periodic", 2, 1, 1)
    recommended = configs.replace(config, {**verdict.best.choice.settings, "out": None})
    return Advice(
        config=config,
        floor=floor,
        objective=objective,
        yardstick=estimates[0],
        estimates=sorted(estimates, key=lambda each: getattr(each, objective)),
        verdict=verdict,
        recommended=recommended,
        every_round=_records(runs, every_round),
        records=_records(runs, verdict.best.choice),
    )


def check(floor: Floor, objective: str, seeds: int) -> None:
    """Checks what is asked, before anything runs.

    Args:
      floor: what must be kept.
      objective: what is to be little.
      seeds: how many.

    Raises:
      ConfigError: says what is wrong.

    Example:
      >>> check(Floor(loss=2), "bytes", 5)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: loss: 2 cannot be used; ...
    """
    if (floor.accuracy is None) == (floor.loss is None):
        raise ConfigError("floor: give either floor, an accuracy, or loss, the points under FedAvg")
    if floor.accuracy is not None and not 0 < floor.accuracy <= 1:
        raise ConfigError(
            f"floor: {floor.accuracy} cannot be used; it must be an accuracy above 0 and up to 1, "
            "such as 0.95"
        )
    if floor.loss is not None and not 0 <= floor.loss < 1:
        raise ConfigError(
            f"loss: {floor.loss} cannot be used; it must be a fraction from 0 to below 1, such as "
            "0.02 for two points"
        )
    if objective not in ("bytes", "seconds"):
        raise ConfigError(f"minimise: {objective!r} cannot be used; it must be bytes or seconds")
    if seeds < 3:
        raise ConfigError(f"seeds: {seeds} cannot be used; intervals need at least 3")


def _run(
    config: ExperimentConfig,
    tried: Sequence[Choice],
    seeds: Iterable[int],
    out: str | None,
    observer: SweepObserver | None,
) -> list[SweepRun]:
    axes: dict[Any, Any] = {AXIS: [tuple(choice) for choice in tried], "seed": list(seeds)}
    return sweep(config, axes, out=out, observer=observer).runs


def _part(out: str | None, name: str) -> str | None:
    return None if out is None else str(pathlib.Path(out) / name)


def _choice_of(run: SweepRun) -> Choice:
    return Choice(*(run.point[name] for name in AXIS))


def _estimates(runs: Sequence[SweepRun], tried: Sequence[Choice]) -> list[Estimate]:
    """One for each choice, the yardstick's first."""
    found: dict[Choice, dict[int, Outcome]] = {choice: {} for choice in tried}
    for run in runs:
        found[_choice_of(run)][run.config.seed] = run.summary, run.records
    return [estimate(choice, found[choice], found[tried[0]]) for choice in tried]


def _records(runs: Sequence[SweepRun], choice: Choice) -> list[list[dict[str, Any]]]:
    return [run.records for run in runs if _choice_of(run) == choice]
