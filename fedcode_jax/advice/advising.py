"""Runs what must be tried, in two stages, and decides."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, Unpack

from fedcode_jax import config as configs
from fedcode_jax.advice.choices import Choice, choices, yardstick
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
from fedcode_jax.experiment import Given, SweepObserver, SweepRun, sweep
from fedcode_jax.experiment.given import named

Tried = tuple[Choice, SweepRun]
"""A choice, and an experiment with it."""

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
      num_clients: C.
      network: the links and devices, in words.
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
    num_clients: int
    network: str


def advise(
    config: ExperimentConfig,
    *,
    floor: Floor,
    objective: Objective = "bytes",
    seeds: int = 5,
    out: str | None = None,
    observer: SweepObserver | None = None,
    **given: Unpack[Given],
) -> Advice:
    """Finds the cheapest schedule that keeps an accuracy.

    All choices and FedAvg are run with two seeds; the cheapest ones that may keep the floor, and
    the most accurate, with the others. Accuracy is that of the deployed model, mean of the last
    period; a loss against FedAvg is taken seed by seed, so that what the seeds have in common does
    not count.

    Args:
      config: data, model, network, devices, rounds; of its algorithm's settings, but for the name
        and K, each choice has those that it knows.
      floor: what must be kept.
      objective: ``bytes`` or ``seconds``, what is to be little.
      seeds: runs of the choices that come last into question, from ``config.seed`` on, at least 3.
      out: folder for the two sweeps, to go on after an interruption; None keeps nothing.
      observer: is told of the progress of each sweep.
      **given: parts of your own, as of ``run``; an algorithm is one more choice.

    Returns:
      The advice.

    Raises:
      ConfigError: a setting that cannot be used, or nothing that ran to its end.
    """
    check(floor, objective, seeds)
    config = named(config, given)
    first = [config.seed + i for i in range(min(_FIRST_SEEDS, seeds))]
    rest = [config.seed + i for i in range(len(first), seeds)]
    tried = [yardstick(config), *choices(config)]

    def run(choices: Sequence[Choice], seeds: Sequence[int], part: str) -> list[Tried]:
        folder = None if out is None else str(pathlib.Path(out) / part)
        points = [{**choice.settings, "seed": seed} for choice in choices for seed in seeds]
        runs = sweep(config, points, out=folder, observer=observer, **given).runs
        whose = [choice for choice in choices for _ in seeds]
        return list(zip(whose, runs, strict=True))

    runs = run(tried, first, "first")
    finalists = [
        yardstick(config),
        *promising(_estimates(runs, tried), floor, objective, _FINALISTS),
    ]
    # Another floor has other finalists, and the same folder may hold both.
    told = hashlib.sha256(repr((finalists, rest)).encode()).hexdigest()[:8]
    runs += run(finalists, rest, f"finalists-{told}")
    estimates = _estimates(runs, tried)
    verdict = decide(estimates, floor, objective)
    if verdict is None:
        raise ConfigError(
            "advise: no run came to its end; see the errors in the sweeps' results.csv, or set a "
            "smaller local.learning_rate"
        )
    every_round = next(each for each in tried if each.algorithm == "fedcode")
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
        **next(
            {name: run.summary[name] for name in ("num_clients", "network")}
            for _, run in runs
            if "num_clients" in run.summary
        ),
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


def _estimates(runs: Sequence[Tried], tried: Sequence[Choice]) -> list[Estimate]:
    """One for each choice, the yardstick's first."""
    found: dict[Choice, dict[int, Outcome]] = {choice: {} for choice in tried}
    for choice, run in runs:
        found[choice][run.config.seed] = run.summary, run.records
    return [estimate(choice, found[choice], found[tried[0]]) for choice in tried]


def _records(runs: Sequence[Tried], choice: Choice) -> list[list[dict[str, Any]]]:
    return [run.records for whose, run in runs if whose == choice]
