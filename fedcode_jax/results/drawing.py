"""How every picture looks: colours that all readers tell apart, axes, legends, PNG."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--")
GREY = "0.72"
MARKED_UP_TO = 40  # points; more would run into each other
_WIDEST_SPREAD = 8  # largest over smallest value on a linear axis


class Style(NamedTuple):
    """What tells one line from the others, also without its colour."""

    colour: str
    marker: str
    dash: str


def style(number: int) -> Style:
    """The style of the line of this number; after 14 they repeat.

    Args:
      number: from 0.

    Returns:
      Its colour, marker and dash.

    Example:
      >>> len({style(number) for number in range(14)})
      14
    """
    turn, colour = divmod(number, len(COLOURS))
    marker = MARKERS[(colour + 3 * turn) % len(MARKERS)]
    return Style(COLOURS[colour], marker, DASHES[turn % len(DASHES)])


def blank(width: float, height: float) -> "Figure":
    """An empty figure.

    Args:
      width: in inches.
      height: in inches.

    Returns:
      A figure that no window system and no global state knows of.
    """
    # The object interface: pyplot keeps figures alive and would choose a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: "Axes") -> None:
    """Draws a light grid, and no frame at the top and right."""
    axes.grid(alpha=0.3, linewidth=0.6)
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
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    if max(positive) <= 100 * min(positive):
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


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
    folded = ["\n".join(textwrap.wrap(label, int(10 * width))) for label in labels]
    longest = max(len(line) for label in folded for line in label.splitlines())
    columns = max(1, min(len(folded), int(13 * width / (longest + 8))))
    lines = sum(label.count("\n") + 1 for label in folded)
    figure.set_size_inches(width, height + 0.2 * -(-lines // columns))
    legend = figure.legend(
        list(handles),
        folded,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize="small",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
