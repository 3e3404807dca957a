"""The tables of a report as text, for people."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from fedcode_jax.results.intervals import Interval
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.paired import Comparison, Quantity, quantities, verdict
from fedcode_jax.results.report.standing import Standing, measure
from fedcode_jax.results.report.table import Kind, Statistic, Table

_UNITS: dict[Kind, tuple[tuple[float, str], ...]] = {
    "fraction": ((0.01, "%"),),
    "bytes": ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")),
    "seconds": ((1, "s"), (60, "min"), (3600, "h")),
    "factor": ((1, ""),),
    "count": ((1, ""),),
}


class Grid(NamedTuple):
    """A table as text.

    Attributes:
      titles: of the columns.
      groups: the row of each line, whose label is in the first column.
      rows: the cells after the first one.
      align: of each column, ``l`` or ``r``.
    """

    titles: tuple[str, ...]
    groups: tuple[Group, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str


def figures_grid(table: Table) -> Grid:
    """The figures, one unit a column, and which rows are Pareto-best.

    Args:
      table: the table.

    Returns:
      The runs of each row, then a cell a column, such as ``93.1 ± 0.4``; ``(2 of 3)`` follows where
      not all completed runs have the figure.
    """
    titles = ["group", "seeds"]
    by_column = []
    for number, column in enumerate(table.columns):
        cells = [row[number] for row in table.cells]
        unit, name = _unit(column.kind, cells)
        titles.append(f"{column.title} ({name})" if name else column.title)
        by_column.append([_cell(column.kind, cell, unit) for cell in cells])
    if table.standings:
        titles.append("Pareto-best")
        by_column.append([_standing(each) for each in table.standings])
    rows = [
        (_runs(group), *(cells[number] for cells in by_column))
        for number, group in enumerate(table.groups)
    ]
    align = "ll" + "r" * len(table.columns) + "l" * bool(table.standings)
    return Grid(tuple(titles), table.groups, tuple(rows), align)


def differences_grid(table: Table) -> Grid | None:
    """The differences to the reference.

    Args:
      table: the table.

    Returns:
      A line for each row that is compared, a cell such as ``+0.52 [+0.10, +0.94] higher`` for each
      quantity; None without a reference.
    """
    if table.reference is None or not table.comparisons:
        return None
    measured = quantities(measure(table))
    several = len(table.reference.groups) > 1
    titles = ["group", *["against"] * several, "seeds", *(each.title for each in measured)]
    rows = []
    for each in table.comparisons:
        cells = [str(each.seeds) if each.reference else "-"]
        if several:
            cells.insert(0, each.reference.short if each.reference else "-")
        found = zip(measured, each.differences, strict=True)
        rows.append((*cells, *(_difference(each, *pair) for pair in found)))
    groups = tuple(each.group for each in table.comparisons)
    return Grid(tuple(titles), groups, tuple(rows), "l" * len(titles))


def _difference(compared: Comparison, quantity: Quantity, found: Interval) -> str:
    if not found.n:
        return "-"
    ends = [] if found.half_width is None else [found.low, found.high]
    if quantity.kind == "points":
        mean, *shown = [f"{100 * value:+.2f}" for value in (found.mean, *ends)]
    else:
        values = [math.exp(value) for value in (found.mean, *ends)]
        mean, *shown = [f"{value:.{_decimals(value)}f}" for value in values]
        mean += "x"
        if found.half_width is not None and len(set(shown)) == 1:
            shown = []  # as in the table: all are equal
    text = f"{mean} [{', '.join(shown)}]" if shown else mean
    counted = "" if found.n == compared.seeds else f" ({found.n} of {compared.seeds} seeds)"
    return f"{text} {verdict(found, quantity.kind)}{counted}"


def _standing(standing: Standing) -> str:
    marks = {"best": "", "not told apart": "?"}
    named = (("bytes", standing.bytes), ("time", standing.seconds))
    return ", ".join(name + marks[rank] for name, rank in named if rank in marks)


def _unit(kind: Kind, cells: Sequence[Statistic]) -> tuple[float, str]:
    """The largest unit in which the smallest mean above 0 is not too small to read."""
    least = 1.0 if kind == "seconds" else 0.1
    means = [cell.mean for cell in cells if cell.mean]
    fitting = [unit for unit in _UNITS[kind] if means and min(means) >= least * unit[0]]
    return fitting[-1] if fitting else _UNITS[kind][0]


def _cell(kind: Kind, cell: Statistic, unit: float) -> str:
    counted = f" ({cell.n} of {cell.of})" if cell.n < cell.of else ""
    if cell.mean is None:
        return "-" + counted
    mean, sd = cell.mean / unit, None if cell.sd is None else cell.sd / unit
    decimals = 1 if kind in ("fraction", "count") else _decimals(mean)
    end = "x" if kind == "factor" else ""
    if kind == "count" and not cell.sd:
        decimals = 0 if mean == round(mean) else 1
    text = f"{mean:.{decimals}f}"
    # Zero says that the runs do not differ, as the bytes of most methods do not.
    if sd:
        text += f" ± {sd:.{decimals}f}"
    return text + end + counted


def _decimals(value: float) -> int:
    """So many that three digits are significant."""
    return 3 if abs(value) < 0.995 else 2 if abs(value) < 9.95 else 1 if abs(value) < 99.5 else 0


def _runs(group: Group) -> str:
    done, given = len(group.completed), len(group.runs)
    text = str(done) if done == given else f"{done} of {given}"
    if group.pooled:
        text += f" runs, {group.seeds} seed{'' if group.seeds == 1 else 's'}"
    others = [f"{n} {status}" for status, n in group.statuses.items() if status != "completed"]
    return ", ".join([text, *others])
