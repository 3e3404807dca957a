"""What the deployed model loses between two calibrations."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def calibrations(records: Sequence[Record]) -> list[int]:
    """The rounds in which weights of clients were averaged, of some records."""
    return [record["round"] for record in records if record["uploaded_weights"] > 0]


def falls(records: Sequence[Record]) -> list[float]:
    """By how much accuracy falls from each calibration to just before the next.

    Accuracy is of the deployed model; of rounds that were not evaluated the nearest in between
    stand in, the first and the last after a calibration and before the next.

    Args:
      records: one a round, in order.

    Returns:
      Accuracy after a calibration less that just before the next, of every two with rounds in
      between; negative where the model gained. Of two with fewer than two evaluations, nothing.

    Example:
      >>> accuracies = [0.8, 0.75, 0.7, 0.9]
      >>> falls([
      ...     {"round": t, "deployed_accuracy": a, "uploaded_weights": 2 * (t in (1, 4))}
      ...     for t, a in enumerate(accuracies, 1)
      ... ])
      [0.10000000000000009]
    """
    known = {
        record["round"]: record["deployed_accuracy"]
        for record in records
        if record["deployed_accuracy"] is not None
    }
    at = calibrations(records)
    found = []
    for first, after in itertools.pairwise(at):
        between = [known[t] for t in range(first, after) if t in known]
        if len(between) > 1:
            found.append(between[0] - between[-1])
    return found
