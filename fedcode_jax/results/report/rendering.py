"""The tables of a report as Markdown, LaTeX, and for the terminal."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedcode_jax.results.report.cells import Grid, differences_grid, figures_grid
from fedcode_jax.results.report.table import Table

if TYPE_CHECKING:
    from rich.console import RenderableType

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": r"$\pm$",
    "…": r"\dots{}",
} | {character: "\\" + character for character in "%_&#${}"}
_MOST_LETTERS = 60  # of a label in a terminal


def markdown(grid: Grid) -> str:
    """A table in Markdown, as GitHub reads it."""
    rules = ["---:" if each == "r" else "---" for each in grid.align]
    rows = [
        (code(group.label), *cells) for group, cells in zip(grid.groups, grid.rows, strict=True)
    ]
    return "".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n"
        for line in (grid.titles, rules, *rows)
    )


def code(text: str) -> str:
    """Text as Markdown shows it letter by letter.

    Example:
      >>> code("a_b"), code("a`b")
      ('`a_b`', '``a`b``')
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def latex(grid: Grid) -> str:
    """A table as a ``tabular`` of LaTeX, which needs the package booktabs; labels are short."""

    def line(cells: Sequence[str]) -> str:
        # After the end of a line LaTeX takes a "[" or "*" for an option of it.
        first = "{}" if cells[0][:1] in ("[", "*") else ""
        return first + " & ".join(map(escape, cells)) + r" \\" + "\n"

    rows = [(group.short, *cells) for group, cells in zip(grid.groups, grid.rows, strict=True)]
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{grid.align}}}\n"
        f"\\toprule\n{line(grid.titles)}\\midrule\n{''.join(map(line, rows))}\\bottomrule\n"
        "\\end{tabular}\n"
    )


def escape(text: str) -> str:
    r"""Text as LaTeX prints it.

    Args:
      text: any text.

    Returns:
      The same with everything that means something to LaTeX escaped, and a minus before a number.

    Example:
      >>> print(escape("A_1 & -95 %"))
      A\_1 \& $-$95 \%
    """
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(^|[\s\[])-(?=\d)", r"\1$-$", escaped)


def for_terminal(table: Table, width: int) -> "RenderableType":
    """The tables for a terminal, each turned on its side where it would be too wide.

    Args:
      table: the table.
      width: characters a line.

    Returns:
      What a rich console prints.
    """
    from rich.console import Group as Together
    from rich.text import Text

    grids = [figures_grid(table), differences_grid(table)]
    first, *rest = [_for_terminal(grid, width) for grid in grids if grid is not None]
    if not rest or table.reference is None:
        return first
    names = ", ".join(each.label for each in table.reference.groups)
    head = f"\nless {names}, seed by seed, with 95 % confidence intervals:"
    return Together(first, Text(head), *rest)


def _for_terminal(grid: Grid, width: int) -> "RenderableType":
    from rich.table import Table as RichTable
    from rich.text import Text

    labels = [
        each.label if len(each.label) <= _MOST_LETTERS else each.short for each in grid.groups
    ]
    lines = [list(grid.titles)]
    lines += [[label, *cells] for label, cells in zip(labels, grid.rows, strict=True)]
    align = grid.align
    if _width(lines) > width:
        turned = list(map(list, zip(*lines, strict=True)))
        if _width(turned) < _width(lines):
            lines, align = turned, "l" + "r" * (len(turned[0]) - 1)
    shown_table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, side in zip(lines[0], align, strict=True):
        shown_table.add_column(Text(title), justify="left" if side == "l" else "right")
    for line in lines[1:]:
        # Text: a label may hold what rich takes for markup.
        shown_table.add_row(*map(Text, line))
    return shown_table


def _width(lines: Sequence[Sequence[str]]) -> int:
    columns = zip(*lines, strict=True)
    return sum(2 + max(map(len, column)) for column in columns)
