"""The tables of a report as CSV, for programs."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from fedcode_jax.results.intervals import Interval
from fedcode_jax.results.report.labels import shown
from fedcode_jax.results.report.paired import Kind, quantities, verdict
from fedcode_jax.results.report.standing import measure
from fedcode_jax.results.report.table import Table

_STATUSES = ("completed", "diverged", "interrupted", "unfinished")


def figures_csv(table: Table) -> str:
    """The table: settings, runs by status, mean, deviation and n of each figure, and the standing.

    Bytes, seconds and fractions are plain numbers; what is not known is empty.
    """
    settings = list(dict.fromkeys(name for group in table.groups for name in group.settings))
    found = [status for group in table.groups for status in group.statuses]
    statuses = list(dict.fromkeys([*_STATUSES, *found]))
    header = ["group", *settings, "runs", "seeds", *statuses, "pooled_over"]
    for column in table.columns:
        header += [f"{column.name}_mean", f"{column.name}_sd", f"{column.name}_n"]
    header += ["pareto_bytes", "pareto_seconds"] if table.standings else []
    rows = []
    for number, (group, cells) in enumerate(zip(table.groups, table.cells, strict=True)):
        row: list[object] = [group.label]
        row += [shown(group.settings.get(name)) for name in settings]
        row += [len(group.runs), group.seeds, *(group.statuses[each] for each in statuses)]
        row.append(" ".join(group.pooled))
        for cell in cells:
            row += [cell.mean, cell.sd, cell.n]
        row += table.standings[number] if table.standings else []
        rows.append(row)
    return _written([header, *rows])


def differences_csv(table: Table) -> str:
    """The differences: mean, the ends of the interval, n and the verdict of each quantity.

    Accuracies are fractions; of bytes it is the reference's over the row's, the geometric mean.
    """
    measured = quantities(measure(table))
    header = ["group", "against", "seeds"]
    for each in measured:
        name = f"{each.name}_{'difference' if each.kind == 'points' else 'ratio'}"
        header += [f"{name}_mean", f"{name}_low", f"{name}_high", f"{name}_n", f"{name}_verdict"]
    rows = []
    for one in table.comparisons:
        row: list[object] = [one.group.label]
        row += [one.reference.label if one.reference else None, one.seeds]
        for quantity, found in zip(measured, one.differences, strict=True):
            row += _difference(found, quantity.kind)
        rows.append(row)
    return _written([header, *rows])


def _difference(found: Interval, kind: Kind) -> list[object]:
    ends = (None, None) if found.half_width is None else (found.low, found.high)
    values = [found.mean if found.n else None, *ends]
    if kind == "ratio":
        values = [None if value is None else math.exp(value) for value in values]
    return [*values, found.n, verdict(found, kind)]


def _written(rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(
        ["" if each is None else each for each in row] for row in rows
    )
    return buffer.getvalue()
