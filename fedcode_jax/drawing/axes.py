"""Axes and legends."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedcode_jax.drawing.style import WIDTHS, Width, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

_HEIGHTS = {("page", 1): 3.2, ("page", 2): 2.6, ("column", 1): 2.4, ("column", 2): 4.6}
_WIDEST_SPREAD = 8  # largest over smallest value on a linear axis
_LETTERS_AN_INCH = 14


def panels(width: Width, count: int) -> "tuple[Figure, list[Axes]]":
    """A figure with one panel or two that have the same y axis.

    Args:
      width: ``page``: they are side by side; ``column``: one above the other.
      count: 1 or 2.

    Returns:
      The figure, without what a legend needs, and its axes.
    """
    figure = blank(WIDTHS[width], _HEIGHTS[width, count])
    rows, columns = (1, count) if width == "page" else (count, 1)
    return figure, list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)


def tidy(axes: "Axes") -> None:
    """Draws a light grid, and no frame at the top and right."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def scale_log_if_wide(axes: "Axes", values: Sequence[float]) -> None:
    """Makes the x axis logarithmic if values on it differ by more than 8 times.

    Args:
      axes: what is drawn in.
      values: what is compared; those that are not above 0 do not count.
    """
    positive = [value for value in values if value > 0]
    if not positive or max(positive) <= _WIDEST_SPREAD * min(positive):
        return
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    if max(positive) <= 100 * min(positive):
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def legend_below(figure: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Puts the legend under the axes, where it covers nothing, and makes the figure taller for it.

    Args:
      figure: with everything drawn.
      handles: what to explain.
      labels: the explanations, as they are: a "$" or a leading "_" means nothing.
    """
    if not handles:
        return
    width, height = figure.get_size_inches()
    room = max(int(_LETTERS_AN_INCH * width) - 8, 12)
    folded = ["\n".join(textwrap.wrap(label, room)) or label for label in labels]
    for columns in range(min(len(folded), 4), 0, -1):
        legend = _legend(figure, list(handles), folded, columns)
        extent = legend.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        if columns == 1 or extent.width <= width * figure.dpi:
            break
        legend.remove()
    figure.set_size_inches(width, height + extent.height / figure.dpi)


def _legend(figure: "Figure", handles: list[Any], labels: Sequence[str], columns: int) -> "Legend":
    # The texts afterwards: some versions leave out labels that begin with "_".
    legend = figure.legend(handles, ["x"] * len(handles), loc="outside lower center", ncols=columns)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    return legend
