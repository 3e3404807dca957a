"""The table of a report as data: a row a group, mean and standard deviation in each column."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from fedcode_jax.errors import ConfigError
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.runs import Point, Run

if TYPE_CHECKING:
    from fedcode_jax.results.report.paired import Comparison
    from fedcode_jax.results.report.reference import Reference
    from fedcode_jax.results.report.standing import Standing

Kind = Literal["fraction", "bytes", "seconds", "factor", "count"]


class Statistic(NamedTuple):
    """A figure over the completed runs of a group.

    Attributes:
      mean: over the runs that have it; None if none has.
      sd: sample standard deviation over them (n - 1); None for fewer than two.
      n: how many have it.
      of: how many completed runs there are.
    """

    mean: float | None
    sd: float | None
    n: int
    of: int


class Column(NamedTuple):
    """A column of the table.

    Attributes:
      name: in the CSV file.
      title: for people, without the unit.
      kind: what is counted, which decides the unit.
      value: the figure of a completed run, or None.
    """

    name: str
    title: str
    kind: Kind
    value: Callable[[Run], float | None]


@dataclasses.dataclass(frozen=True)
class Table:
    """The table.

    Attributes:
      columns: what was measured.
      groups: one a row.
      cells: by row and column.
      standings: which rows are Pareto-best, one a row; empty where there is but one row.
      reference: what rows are compared with; None where there is nothing to compare.
      comparisons: of the rows with it.
    """

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    cells: tuple[tuple[Statistic, ...], ...]
    standings: tuple["Standing", ...] = ()
    reference: "Reference | None" = None
    comparisons: tuple["Comparison", ...] = ()


def statistic(values: Iterable[float | None]) -> Statistic:
    """Mean and sample standard deviation of the values that are there.

    Args:
      values: one a run; None and NaN are missing.

    Returns:
      The statistic.

    Example:
      >>> statistic([1.0, 3.0, None])
      Statistic(mean=2.0, sd=1.4142135623730951, n=2, of=3)
    """
    given = list(values)
    present = [float(each) for each in given if each is not None and math.isfinite(each)]
    mean = statistics.fmean(present) if present else None
    sd = statistics.stdev(present) if len(present) > 1 else None
    return Statistic(mean, sd, len(present), len(given))


def table_of(groups: Sequence[Group], target: float | None = None) -> Table:
    """Measures the groups.

    Args:
      groups: what the rows are.
      target: accuracy for the three columns that say in how many rounds, bytes and simulated
        seconds a run first reaches it; None leaves them out.

    Returns:
      The table. Runs that did not complete are in no figure.

    Raises:
      ConfigError: a target that is not a fraction.
    """
    check_target(target)
    runs = [run for group in groups for run in group.completed]
    personal = any(_PERSONAL.value(run) is not None for run in runs)
    columns = (
        _COLUMNS + (_PERSONAL,) * personal + (() if target is None else _target_columns(target))
    )
    cells = tuple(
        tuple(statistic(map(column.value, each.completed)) for column in columns) for each in groups
    )
    return Table(columns, tuple(groups), cells)


def check_target(target: float | None) -> None:
    """Checks the accuracy to be reached.

    Args:
      target: the accuracy, or None.

    Raises:
      ConfigError: it is not a fraction.

    Example:
      >>> check_target(95)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: target: 95 cannot be used; ...
    """
    if target is not None and not 0 < target <= 1:
        raise ConfigError(
            f"target: {target} cannot be used; it must be an accuracy above 0 and up to 1,"
            " such as 0.95"
        )


def reached(run: Run, target: float) -> Point | None:
    """The first evaluated round whose accuracy is at least the target, or None."""
    return next((point for point in run.points() if point.accuracy >= target), None)


def summed(*names: str) -> Callable[[Run], float | None]:
    """The sum of figures of a run's summary; None where one is missing."""

    def value(run: Run) -> float | None:
        parts = [run.summary[name] for name in names if run.summary.get(name) is not None]
        return math.fsum(parts) if len(parts) == len(names) else None

    return value


def _worst_decile(run: Run) -> float | None:
    return (run.summary.get("client_accuracy") or {}).get("worst_decile")


def _personal(run: Run) -> float | None:
    return (run.summary.get("personal_accuracy") or {}).get("mean")


_UP, _DOWN = "total_uplink_bytes", "total_downlink_bytes"
_COLUMNS = (
    Column("final_accuracy", "final accuracy", "fraction", summed("final_accuracy")),
    Column("period_accuracy", "period accuracy", "fraction", summed("period_accuracy")),
    Column(
        "period_deployed_accuracy",
        "deployed period accuracy",
        "fraction",
        summed("period_deployed_accuracy"),
    ),
    Column("worst_decile", "worst tenth of clients", "fraction", _worst_decile),
    Column("uplink_bytes", "uplink", "bytes", summed(_UP)),
    Column("downlink_bytes", "downlink", "bytes", summed(_DOWN)),
    Column("total_bytes", "total", "bytes", summed(_UP, _DOWN)),
    Column("reduction_vs_fedavg", "reduction vs FedAvg", "factor", summed("reduction_vs_fedavg")),
    Column("simulated_seconds", "simulated time", "seconds", summed("simulated_seconds")),
)


_PERSONAL = Column("personal_accuracy", "clients' own models", "fraction", _personal)
"""Only where some run has it."""


def _target_columns(target: float) -> tuple[Column, ...]:
    def first(figure: Callable[[Point], float]) -> Callable[[Run], float | None]:
        def value(run: Run) -> float | None:
            point = reached(run, target)
            return None if point is None else figure(point)

        return value

    percent = f"{100 * target:g} %"
    return (
        Column(f"rounds_to_{target:g}", f"rounds to {percent}", "count", first(lambda p: p.round)),
        Column(f"bytes_to_{target:g}", f"bytes to {percent}", "bytes", first(lambda p: p.bytes)),
        Column(
            f"seconds_to_{target:g}", f"time to {percent}", "seconds", first(lambda p: p.seconds)
        ),
    )
