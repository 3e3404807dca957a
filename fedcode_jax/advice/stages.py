"""The next stage of a rollout, from the figures of the one before it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fedcode_jax import config as configs
from fedcode_jax.advice.choosing import steady_accuracy
from fedcode_jax.advice.falls import falls
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.results.report.runs import Run

LONGEST = 20
"""Rounds between two calibrations that a rollout goes up to, unless it is told."""
_SETTLED = 0.01  # of accuracy, gained in as many rounds:
_WINDOW = 10
_LEAST_ROUNDS = 20


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage of a rollout measured, and what comes after it.

    Attributes:
      rounds: how many there were.
      period: rounds between two calibrations in it, the longer of f1 and f2.
      accuracy: of the deployed model, mean of its last period, of ten rounds at least.
      gain: of that over the ten rounds before, what is still being learnt.
      fall: of the deployed model from a calibration to just before the next, the mean of those in
        the last half of its rounds; 0 where every round calibrates.
      arrived: share of the uploads of those that took part.
      move: ``back`` to a shorter period, ``stay``, ``lengthen`` it, or ``settle`` at it.
      next_period: of the stage that comes next.
      reason: why, in words.
    """

    rounds: int
    period: int
    accuracy: float
    gain: float
    fall: float
    arrived: float
    move: Literal["back", "stay", "lengthen", "settle"]
    next_period: int
    reason: str


def next_stage(
    records: Sequence[Mapping[str, Any]], period: int, floor: float, longest: int = LONGEST
) -> Stage:
    """Decides by what was measured.

    With a the accuracy of the last period P, which holds half of the fall f that it costs, a period
    P' of up to twice that is expected to give a - (P' / P - 1) f / 2, drift being proportional to
    time. The period is lengthened while that is at least the floor, and nothing much is being
    learnt.

    Args:
      records: of the stage, one a round.
      period: P, the longer of f1 and f2.
      floor: accuracy to keep, a fraction.
      longest: period that the rollout ends at.

    Returns:
      The stage.

    Raises:
      ConfigError: too few rounds were run and evaluated to tell.
    """
    half = [record for record in records if 2 * record["round"] > len(records)]
    window = -(-_WINDOW // period) * period
    accuracy = steady_accuracy(records, period)
    before = steady_accuracy(records[:-window], period)
    if not (math.isfinite(accuracy) and math.isfinite(before)):
        raise ConfigError(
            f"after: {len(records)} rounds are too few to go by; run at least "
            f"{2 * window}, and evaluate some of the last ones"
        )
    found = falls(half)
    fall = math.fsum(found) / len(found) if found else 0.0
    contacted = sum(record["clients"] for record in records)
    longer = min(2 * period, longest)
    expected = accuracy - (longer / period - 1) * max(fall, 0) / 2
    gain = accuracy - before
    shown = f"{100 * accuracy:.1f} %"
    asked = f"the floor of {100 * floor:g} %"
    move: Literal["back", "stay", "lengthen", "settle"]
    if accuracy < floor and period > 1:
        move, after = "back", max(1, period // 2)
        reason = f"{shown} is under {asked}"
    elif accuracy < floor or gain >= _SETTLED:
        move, after = "stay", period
        reason = f"{100 * gain:.1f} points were gained in the last {window} rounds"
        reason += f", and {shown} is under {asked}" if accuracy < floor else ", which is not stable"
    elif period >= longest:
        move, after, reason = "settle", period, f"{shown} keeps {asked} at the longest period"
    elif expected < floor:
        move, after = "settle", period
        reason = (
            f"accuracy falls by {100 * fall:.1f} points between calibrations; at {longer} rounds "
            f"{100 * expected:.1f} % is to be expected, under {asked}"
        )
    else:
        move, after = "lengthen", longer
        reason = f"{shown} is stable, and {100 * expected:.1f} % is to be expected, above {asked}"
    share = sum(record["arrived"] for record in records) / max(contacted, 1)
    return Stage(len(records), period, accuracy, gain, fall, share, move, after, reason)


def period_of(run: Run) -> int:
    """Rounds between two calibrations of a run: the longer of f1 and f2.

    Raises:
      ConfigError: its algorithm follows no schedule with periods.
    """
    pair = [run.settings.get(f"schedule.{who}_period") for who in ("server", "client")]
    follows = run.settings["algorithm.name"] in ("fedcode", "skip")
    if not follows or not all(isinstance(each, int) for each in pair):
        raise ConfigError(
            f"after: {str(run.folder)!r} is a run of {run.settings['algorithm.name']} with "
            f"schedule {run.settings.get('schedule.name')}; a rollout needs fedcode or skip, and a "
            "schedule with periods"
        )
    return max(each for each in pair if each is not None)


def next_config(run: Run, config: ExperimentConfig, stage: Stage) -> ExperimentConfig:
    """The experiment of the next stage: the run's, from its weights on, at the next period.

    Args:
      run: of the stage before.
      config: of that run.
      stage: what was decided.

    Returns:
      The config: both periods are equal, the server's calibration following the clients'.
    """
    paired = "paired" if stage.next_period > 1 else "periodic"
    return configs.replace(
        config,
        {
            "schedule.name": paired,
            "schedule.server_period": stage.next_period,
            "schedule.client_period": stage.next_period,
            "rounds": max(_LEAST_ROUNDS, 4 * stage.next_period),
            "init": str(run.folder),
            "init_skip": [],
            "out": None,
        },
    )


def stage_text(name: str, stage: Stage) -> str:
    """The stage as Markdown.

    Args:
      name: of the run.
      stage: what was decided.
    """
    every = "every round" if stage.next_period == 1 else f"every {stage.next_period} rounds"
    words = {
        "back": f"**Go back** to a calibration {every}",
        "stay": f"**Stay** at a calibration {every}",
        "lengthen": f"**Lengthen** the period to a calibration {every}",
        "settle": f"**Settle** at a calibration {every}",
    }
    between = "-" if stage.period == 1 else f"{100 * stage.fall:.1f} points"
    return "\n".join(
        [
            f"# The stage after {name}",
            "",
            f"{words[stage.move]}: {stage.reason}.",
            "",
            f"- rounds: {stage.rounds}, at most {stage.period} from a calibration to the next",
            f"- accuracy as deployed, mean of the last period: {100 * stage.accuracy:.1f} %",
            f"- gained over as many rounds before: {100 * stage.gain:+.1f} points",
            f"- fall from a calibration to just before the next: {between}",
            f"- uploads that arrived: {100 * stage.arrived:.0f} %",
            "",
        ]
    )
