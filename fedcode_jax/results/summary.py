"""A run in a dozen figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Status = Literal["completed", "diverged", "interrupted"]

MILESTONES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Accuracies of which a run says when it reached them."""


def summarise(
    records: Sequence[Mapping[str, Any]],
    *,
    period: int | None,
    status: Status,
    fedavg_bytes: float,
    fedavg_formula_bits: float,
    compile_seconds: float | None = None,
) -> dict[str, Any]:
    """The closing figures of a run, from its records.

    Accuracies are fractions of the test set. A round that was not evaluated has none; a figure
    for which no round was evaluated is None.

    Args:
      records: one mapping a round, in order; there may be none.
      period: rounds of one period of the schedule, or None if it has none. Non-IID accuracy is a
        sawtooth over it, and ``period_accuracy`` is the mean over the evaluated rounds among the
        last ``period``; None without a period, or if the run ended before one was over.
      status: how the run ended.
      fedavg_bytes: what FedAvg would have sent in the same rounds to and from the same clients,
        both directions together.
      fedavg_formula_bits: the same by formula, 32 bits a value and no headers.
      compile_seconds: time before the first round, if it was measured; not in ``wall_seconds``.

    Returns:
      status, rounds done, final, period and best accuracy (of the server's weights and as
      deployed), bytes by direction, the reduction against FedAvg as measured and by formula
      (None if nothing was sent), simulated seconds and of these the mean client's computing,
      sending and waiting, ``to_accuracy``, as of ``milestones``, and wall seconds.

    Example:
      >>> record = {"test_accuracy": 0.5, "uplink_bytes": 10, "downlink_bytes": 30}
      >>> kinds = {"status": "completed", "fedavg_bytes": 400, "fedavg_formula_bits": 0}
      >>> summarise([record], period=10, **kinds)["reduction_vs_fedavg"]
      10.0
    """
    window = records[-period:] if period is not None and period <= len(records) else []
    accuracies = _evaluated(records, "test_accuracy")
    deployed = _evaluated(records, "deployed_accuracy")
    uplink = int(_total(records, "uplink_bytes"))
    downlink = int(_total(records, "downlink_bytes"))
    formula_bits = _total(records, "uplink_formula_bits") + _total(records, "downlink_formula_bits")
    return {
        "status": status,
        "rounds": len(records),
        "final_accuracy": accuracies[-1] if accuracies else None,
        "final_deployed_accuracy": deployed[-1] if deployed else None,
        "period_accuracy": _mean(_evaluated(window, "test_accuracy")),
        "period_deployed_accuracy": _mean(_evaluated(window, "deployed_accuracy")),
        "period": period,
        "best_accuracy": max(accuracies, default=None),
        "total_uplink_bytes": uplink,
        "total_downlink_bytes": downlink,
        "reduction_vs_fedavg": _ratio(fedavg_bytes, uplink + downlink),
        "reduction_formula": _ratio(fedavg_formula_bits, formula_bits),
        "simulated_seconds": _total(records, "simulated_seconds"),
        "computing_seconds": _total(records, "computing_seconds"),
        "sending_seconds": _total(records, "sending_seconds"),
        "waiting_seconds": _total(records, "waiting_seconds"),
        "to_accuracy": milestones(records),
        "wall_seconds": _total(records, "wall_seconds"),
        "compile_seconds": compile_seconds,
    }


def milestones(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """When each of some accuracies of the server's weights was first reached, and at what cost.

    Args:
      records: one mapping a round.

    Returns:
      For each of ``MILESTONES`` that was reached, in ascending order: ``accuracy``, ``round``,
      ``bytes`` sent both ways until then, and simulated ``seconds``.

    Example:
      >>> record = {"round": 1, "test_accuracy": 0.5, "cumulative_bytes": 9, "simulated_seconds": 2}
      >>> milestones([record])
      [{'accuracy': 0.5, 'round': 1, 'bytes': 9, 'seconds': 2.0}]
    """
    found: list[dict[str, Any]] = []
    seconds = 0.0
    for record in records:
        seconds += record.get("simulated_seconds") or 0
        accuracy = record.get("test_accuracy")
        while accuracy is not None and len(found) < len(MILESTONES):
            level = MILESTONES[len(found)]
            if not accuracy >= level:
                break
            cost = {"bytes": record.get("cumulative_bytes"), "seconds": seconds}
            found.append({"accuracy": level, "round": record.get("round"), **cost})
    return found


def _evaluated(records: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """The finite values of ``key``, in the order of the rounds."""
    values = (record.get(key) for record in records)
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def _total(records: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(record.get(key) or 0 for record in records)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _ratio(reference: float, measured: float) -> float | None:
    return float(reference / measured) if measured > 0 else None
