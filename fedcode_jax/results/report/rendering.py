"""The table for people (Markdown, LaTeX, the terminal) and for programs (CSV)."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.labels import shown
from fedcode_jax.results.report.table import Kind, Statistic, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNITS: dict[Kind, tuple[tuple[float, str], ...]] = {
    "fraction": ((0.01, "%"),),
    "bytes": ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")),
    "seconds": ((1, "s"), (60, "min"), (3600, "h")),
    "factor": ((1, ""),),
    "count": ((1, ""),),
}
_STATUSES = ("completed", "diverged", "interrupted", "unfinished")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": r"$\pm$",
} | {character: "\\" + character for character in "%_&#${}"}


def texts(table: Table) -> tuple[list[str], list[list[str]]]:
    """The table as text, one unit a column.

    Args:
      table: the table.

    Returns:
      The titles with their units, and the rows: the label, the runs, then a cell a column, such
      as ``93.1 ± 0.4``; ``(2 of 3)`` follows where not all completed runs have the figure.
    """
    titles = ["group", "seeds"]
    by_column = []
    for number, column in enumerate(table.columns):
        cells = [row[number] for row in table.cells]
        unit, name = _unit(column.kind, cells)
        titles.append(f"{column.title} ({name})" if name else column.title)
        by_column.append([_cell(column.kind, cell, unit) for cell in cells])
    rows = [
        [group.label, _runs(group), *(cells[number] for cells in by_column)]
        for number, group in enumerate(table.groups)
    ]
    return titles, rows


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


def markdown(table: Table) -> str:
    """The table in Markdown, as GitHub reads it."""
    titles, rows = texts(table)
    marked = [[f"`{label}`", *cells] for label, *cells in rows]
    lines = [titles, ["---", "---", *["---:"] * len(table.columns)], *marked]
    return "".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines
    )


def latex(table: Table) -> str:
    """The table as a ``tabular`` of LaTeX, which needs the package booktabs."""
    titles, rows = texts(table)

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(escape, cells)) + r" \\" + "\n"

    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{ll{'r' * len(table.columns)}}}\n"
        f"\\toprule\n{line(titles)}\\midrule\n{''.join(map(line, rows))}\\bottomrule\n"
        "\\end{tabular}\n"
    )


def escape(text: str) -> str:
    r"""Text as LaTeX prints it.

    Args:
      text: any text.

    Returns:
      The same with everything that means something to LaTeX escaped.

    Example:
      >>> print(escape("A_1 & 95 %"))
      A\_1 \& 95 \%
    """
    return "".join(_LATEX.get(character, character) for character in text)


def to_csv(table: Table) -> str:
    """The table as CSV: settings, runs by status, then mean, deviation and n of each figure.

    Bytes, seconds and fractions are plain numbers; what is not known is empty.
    """
    settings = list(dict.fromkeys(name for group in table.groups for name in group.settings))
    found = [status for group in table.groups for status in group.statuses]
    statuses = list(dict.fromkeys([*_STATUSES, *found]))
    header = ["group", *settings, "runs", "seeds", *statuses, "pooled_over"]
    for column in table.columns:
        header += [f"{column.name}_mean", f"{column.name}_sd", f"{column.name}_n"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for group, cells in zip(table.groups, table.cells, strict=True):
        row: list[object] = [group.label]
        row += [shown(group.settings.get(name)) for name in settings]
        row += [len(group.runs), group.seeds, *(group.statuses[each] for each in statuses)]
        row.append(" ".join(group.pooled))
        for cell in cells:
            row += ["" if each is None else each for each in (cell.mean, cell.sd)] + [cell.n]
        writer.writerow(row)
    return buffer.getvalue()


def for_terminal(table: Table, width: int) -> "RenderableType":
    """The table for a terminal, turned on its side where it would be too wide.

    Args:
      table: the table.
      width: characters a line.

    Returns:
      What a rich console prints.
    """
    from rich.table import Table as RichTable
    from rich.text import Text

    titles, rows = texts(table)
    lines = [titles, *rows]
    if _width(lines) > width:
        turned = list(map(list, zip(*lines, strict=True)))
        lines = min(lines, turned, key=_width)
    shown_table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, title in enumerate(lines[0]):
        shown_table.add_column(Text(title), justify="left" if number == 0 else "right")
    for line in lines[1:]:
        # Text: a label may hold what rich takes for markup.
        shown_table.add_row(*map(Text, line))
    return shown_table


def _width(lines: Sequence[Sequence[str]]) -> int:
    columns = zip(*lines, strict=True)
    return sum(2 + max(map(len, column)) for column in columns)
