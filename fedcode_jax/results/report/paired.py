"""Rows compared with a reference, seed by seed: mean differences and their intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from fedcode_jax.results.intervals import Interval, interval
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.reference import Reference, apart, keys_of
from fedcode_jax.results.report.runs import Run
from fedcode_jax.results.report.table import summed

Value = Callable[[Run], float | None]
Kind = Literal["points", "ratio"]
_EXACT = 1e-9  # of a logarithm; less is rounding


class Quantity(NamedTuple):
    """What is compared.

    Attributes:
      name: in the CSV file.
      title: for people.
      kind: ``points``, a difference of fractions; ``ratio``, how many times fewer.
      value: of a run, or None.
    """

    name: str
    title: str
    kind: Kind
    value: Value


class Comparison(NamedTuple):
    """A row against its reference.

    Attributes:
      group: the row.
      reference: the row that it is compared with; None if no two runs are a pair.
      seeds: how many seeds both have.
      differences: of each quantity; of a ratio, of its natural logarithm.
      why_not: what keeps the runs from being pairs, if there are none.
    """

    group: Group
    reference: Group | None
    seeds: int
    differences: tuple[Interval, ...]
    why_not: str = ""


def quantities(measure: str) -> tuple[Quantity, ...]:
    """What is compared: the accuracy of a report, the deployed one of the same rounds, and bytes.

    Args:
      measure: ``final_accuracy`` or ``period_accuracy``.

    Returns:
      The quantities.
    """
    deployed = measure.replace("accuracy", "deployed_accuracy")
    window = "last round" if measure == "final_accuracy" else "mean of last period"
    return (
        Quantity(measure, f"accuracy, {window} (points)", "points", summed(measure)),
        Quantity(deployed, "the same as deployed (points)", "points", summed(deployed)),
        Quantity(
            "total_bytes",
            "bytes (times fewer)",
            "ratio",
            summed("total_uplink_bytes", "total_downlink_bytes"),
        ),
    )


def comparisons(
    groups: Sequence[Group], reference: Reference, measured: Sequence[Quantity]
) -> list[Comparison]:
    """Compares all rows that are no reference.

    Args:
      groups: all rows.
      reference: what they are compared with.
      measured: what is compared.

    Returns:
      A comparison for each of them, in their order.
    """
    others = [each for each in groups if each not in reference.groups]
    return [_compared(each, reference, measured) for each in others]


def _compared(group: Group, reference: Reference, measured: Sequence[Quantity]) -> Comparison:
    own = keys_of(group, reference)
    for other in reference.groups:
        theirs = keys_of(other, reference)
        common = own.keys() & theirs.keys()
        if common:
            seeds = {run.settings["seed"] for key in common for run in own[key]}
            found = tuple(interval(differences(own, theirs, each).values()) for each in measured)
            return Comparison(group, other, len(seeds), found)
    nothing = tuple(interval(()) for _ in measured)
    return Comparison(group, None, 0, nothing, _why_not(group, reference))


def differences(
    own: Mapping[str, Sequence[Run]], theirs: Mapping[str, Sequence[Run]], quantity: Quantity
) -> dict[int, float]:
    """A quantity's difference for each seed that both rows have it of.

    Args:
      own: runs by what those of a pair have in common, as of ``keys_of``.
      theirs: those of the reference.
      quantity: what is compared.

    Returns:
      By seed: own less theirs, or of a ratio the logarithm of theirs over own; where a row pools
      further settings, the mean over them, so that a seed counts once.
    """
    by_seed: dict[int, list[float]] = {}
    for key in own.keys() & theirs.keys():
        values = [_mean(runs[key], quantity) for runs in (own, theirs)]
        if None not in values:
            one, other = (value for value in values if value is not None)
            by_seed.setdefault(own[key][0].settings["seed"], []).append(
                one - other if quantity.kind == "points" else other - one
            )
    return {seed: math.fsum(by_seed[seed]) / len(by_seed[seed]) for seed in sorted(by_seed)}


def _mean(runs: Sequence[Run], quantity: Quantity) -> float | None:
    """The mean over runs; of a ratio, of logarithms."""
    values = [quantity.value(run) for run in runs]
    if quantity.kind == "ratio":
        values = [math.log(value) if value else None for value in values]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _why_not(group: Group, reference: Reference) -> str:
    rows = " or ".join(f"`{each.label}`" for each in reference.groups)
    if not group.completed:
        return "no run of it completed"
    others = [run for each in reference.groups for run in each.completed]
    if not others:
        return f"no run of {rows} completed"
    pairs = [
        (run, other)
        for run in group.completed
        for other in others
        if run.settings["seed"] == other.settings["seed"]
    ]
    if not pairs:
        return f"it has no seed in common with {rows}"
    settings = min((apart(*pair, reference) for pair in pairs), key=len)
    return f"its runs and those of {rows} differ in {', '.join(f'`{n}`' for n in settings)}"


def verdict(found: Interval, kind: Kind) -> str:
    """What a difference comes to, in words; nothing is claimed that the interval does not bear.

    Args:
      found: the difference; of a ratio, of its logarithm.
      kind: of the quantity.

    Returns:
      ``higher`` or ``lower``, of bytes ``fewer``, ``more`` or ``equal``; ``not told apart``; or
      ``one seed``. Empty without a seed.

    Example:
      >>> verdict(Interval(0.01, 0.004, 3), "points"), verdict(Interval(0.01, 0.02, 3), "points")
      ('higher', 'not told apart')
    """
    if found.half_width is None:
        return "one seed" if found.n else ""
    up, down = ("higher", "lower") if kind == "points" else ("fewer", "more")
    if kind == "ratio" and found.half_width < _EXACT:
        # Bytes are counted, not drawn: where all seeds agree, the ratio is what it is.
        return "equal" if abs(found.mean) < _EXACT else up if found.mean > 0 else down
    return {1: up, -1: down, 0: "not told apart"}[found.sign]
