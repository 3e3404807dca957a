"""Which rows are Pareto-best: accuracy against bytes, and against simulated seconds."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from fedcode_jax.results.intervals import interval
from fedcode_jax.results.report.groups import Group, effective, values_of
from fedcode_jax.results.report.paired import differences, quantities
from fedcode_jax.results.report.reference import keys_of, task_of

if TYPE_CHECKING:
    from fedcode_jax.results.report.table import Statistic, Table

Rank = Literal["best", "not told apart", "dominated", ""]

RULE = (
    "A row is Pareto-best if, on means, no other row of the same data and partition (for time: and"
    " network) is at least as accurate at no more bytes (or time) and better in one of the two; `?`"
    " marks a row that is not, but is not told apart from one that is: for no row that beats it"
    " does the 95 % interval of the paired difference in accuracy lie above 0."
)


class Standing(NamedTuple):
    """Where a row stands.

    Attributes:
      bytes: ``best``, ``not told apart`` or ``dominated`` as accuracy against bytes both ways goes;
        empty without figures.
      seconds: the same against simulated seconds.
    """

    bytes: Rank
    seconds: Rank


COSTS = {"bytes": "total_bytes", "seconds": "simulated_seconds"}
"""By attribute of ``Standing``: the column of the table."""


def measure(table: "Table") -> str:
    """The accuracy by which the groups are compared: the column that all of them have.

    That is the mean of the last period, unless a group has no period (its schedule goes by what it
    sees, or its periods are longer than the run): then it is the last round, for all.
    """
    names = [column.name for column in table.columns]
    final, period = names.index("final_accuracy"), names.index("period_accuracy")
    lacking = any(row[period].mean is None and row[final].mean is not None for row in table.cells)
    return "final_accuracy" if lacking else "period_accuracy"


def standings(table: "Table") -> tuple[Standing, ...]:
    """Where the rows of a table stand, by ``RULE``.

    Args:
      table: the table.

    Returns:
      One a row.
    """
    accuracy = column(table, measure(table))
    quantity = quantities(measure(table))[0]
    task = task_of(table.groups)
    runs = [keys_of(each, task) for each in table.groups]

    def more_accurate(one: int, other: int) -> bool:
        return interval(differences(runs[one], runs[other], quantity).values()).sign > 0

    ranks = []
    for attribute, name in COSTS.items():
        cost = column(table, name)
        tasks = [task_of_row(each, with_network=attribute == "seconds") for each in table.groups]
        known = [
            number
            for number in range(len(table.groups))
            if accuracy[number].mean is not None and _is_known(cost[number], attribute)
        ]
        points = {i: (cost[i].mean or 0.0, accuracy[i].mean or 0.0) for i in known}
        found: list[Rank] = [""] * len(table.groups)
        for i in known:
            beaten_by = [j for j in known if tasks[i] == tasks[j] and beats(points[j], points[i])]
            clearly = any(more_accurate(j, i) for j in beaten_by)
            found[i] = "dominated" if clearly else "not told apart" if beaten_by else "best"
        ranks.append(found)
    return tuple(map(Standing, *ranks))


def _is_known(cost: "Statistic", attribute: str) -> bool:
    """Whether a cost was recorded; a run may send nothing, but none takes no time."""
    return cost.mean is not None and (attribute == "bytes" or cost.mean > 0)


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether a point (cost, gain) is nowhere worse than another, and not the same.

    Example:
      >>> beats((1.0, 0.5), (2.0, 0.5)), beats((1.0, 0.5), (2.0, 0.6))
      (True, False)
    """
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def column(table: "Table", name: str) -> "list[Statistic]":
    """A column of a table, by the name of its figure."""
    number = [column.name for column in table.columns].index(name)
    return [row[number] for row in table.cells]


def task_of_row(group: Group, with_network: bool) -> frozenset[str]:
    """What data and partitions a row is of: rows of others are not compared with it."""
    parts = ("data.", "partition.", *(("network.",) if with_network else ()))
    found = set()
    for run in group.completed:
        names = sorted(effective(name for name in run.settings if name.startswith(parts)))
        found.add(f"{names} {values_of(run, names)}")
    return frozenset(found)
