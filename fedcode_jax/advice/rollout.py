"""The staged rollout: a pilot, what to watch, when to lengthen the period."""

import math
from collections.abc import Sequence
from typing import Any

from fedcode_jax.advice.advising import Advice
from fedcode_jax.advice.falls import falls
from fedcode_jax.results.units import format_bytes, format_seconds

_SETTLED = 0.01  # of accuracy: what is left to gain when things are called stable


def rollout(advice: Advice) -> list[str]:
    """The plan as lines of Markdown, with figures from the simulation.

    Args:
      advice: the answer.

    Returns:
      Three stages: a pilot that calibrates in every round, the lengthening of the period, and the
      recommended schedule.
    """
    config, best = advice.config, advice.verdict.best.choice
    pilot = max(2, min(10, advice.num_clients // 5 or 2))
    settled = settled_after(advice.every_round)
    long = max(best.server_period, best.client_period)
    steps = list(_doublings(long))
    lines = [
        "## Rollout",
        "",
        "### 1. Pilot",
        "",
        f"Start with {pilot} clients that differ as much as your clients do, and calibrate in "
        "every round (server_period 1, client_period 1).",
    ]
    if settled is not None:
        costs = _cost(advice.every_round[0][:settled])
        lines.append(
            f"In the simulation, with all clients, accuracy came within a point of its final value "
            f"after round {settled}; until then a client sent and received {costs}. Plan the pilot "
            f"for at least {settled} rounds."
        )
    lines += [
        "Measure on site what the simulation assumed: rates each way, the time of a local "
        "training, and how many clients answer a round; then ask again with these figures "
        "(`fedcode advise --network...`).",
        "",
        "### 2. Lengthen the period",
        "",
    ]
    if len(steps) > 1:
        lines += [
            f"Once accuracy gains less than a point over ten rounds, lengthen both periods step by "
            f"step: {', '.join(map(str, steps))}. Stay at each for two full periods. Watch",
            "",
            "- accuracy of the deployed model after a calibration and just before the next: its "
            "fall in between is what the longer period costs;" + _sawtooth(advice),
            "- the server's model beside the deployed one: clients work with the latter;",
            "- the worst tenth of the clients, not the mean alone;",
            "- how many uploads arrive in time.",
            "",
            "`fedcode advise --after RUN --floor ACCURACY` decides by the figures of a run, and "
            "writes the config of the next stage.",
            "",
            f"Go back one step if the mean over a period falls under the floor ({advice.floor}) or "
            "if the fall between calibrations grows from period to period.",
        ]
    else:
        lines += ["There is nothing to lengthen: the recommended schedule calibrates every round."]
    lines += [
        "",
        "### 3. Operate",
        "",
        f"Settle at {advice.verdict.best.choice}. A client then sends and receives "
        f"{_cost(_first(advice.records))} in {config.rounds} rounds; the largest upload of a round "
        f"is {_peak(_first(advice.records))}. New clients are sent weights once, in any round.",
        "Calibrate in every round again when data or clients change, and begin at step 2.",
    ]
    return lines


def settled_after(runs: Sequence[Sequence[dict[str, Any]]]) -> int | None:
    """The round from which the mean accuracy of some runs stays within a point of its last.

    Args:
      runs: records of each, of equal length.

    Returns:
      The round, or None without records.

    Example:
      >>> accuracies = [0.1, 0.5, 0.9, 0.895, 0.9]
      >>> settled_after([[{"round": i + 1, "test_accuracy": a} for i, a in enumerate(accuracies)]])
      3
    """
    curves = [
        {r["round"]: r["test_accuracy"] for r in records if r["test_accuracy"] is not None}
        for records in runs
    ]
    rounds = sorted(set.intersection(*map(set, curves))) if curves else []
    if not rounds:
        return None
    means = [math.fsum(curve[t] for curve in curves) / len(curves) for t in rounds]
    unsettled = [t for t, mean in zip(rounds, means, strict=True) if mean < means[-1] - _SETTLED]
    after = [t for t in rounds if not unsettled or t > unsettled[-1]]
    return after[0]


def _doublings(longest: int) -> list[int]:
    steps = [1]
    while 2 * steps[-1] < longest:
        steps.append(2 * steps[-1])
    return [*steps, longest] if longest > 1 else steps


def _first(runs: Sequence[Sequence[dict[str, Any]]]) -> Sequence[dict[str, Any]]:
    return runs[0] if runs else []


def _cost(records: Sequence[dict[str, Any]]) -> str:
    """Mean bytes of a client that takes part in each of these rounds, and the time they take."""
    each = [(r["uplink_bytes"] + r["downlink_bytes"]) / max(r["clients"], 1) for r in records]
    seconds = math.fsum(r["simulated_seconds"] for r in records)
    return f"{format_bytes(math.fsum(each))} in {format_seconds(seconds)}"


def _peak(records: Sequence[dict[str, Any]]) -> str:
    return format_bytes(
        max((r["uplink_bytes"] / max(r["clients"], 1) for r in records), default=0.0)
    )


def _sawtooth(advice: Advice) -> str:
    """What the simulation says of the fall between calibrations, of the last two of each run."""
    found = [fall for records in advice.records for fall in falls(records)[-2:]]
    if not found:
        return ""
    if max(found) <= 0:
        return " in the simulation there was none near the end;"
    mean = max(math.fsum(found) / len(found), 0.0)
    return (
        f" near the end of the simulation it was {100 * mean:.1f} points in the mean, "
        f"{100 * max(found):.1f} at most;"
    )
