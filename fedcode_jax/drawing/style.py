"""What a picture is drawn with: colours, markers, lines, sizes and fonts."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Width = Literal["column", "page"]
WIDTHS: dict[Width, float] = {"column": 3.4, "page": 7.0}
"""Inches: of a column and of a page of a paper with two columns."""

# Okabe and Ito's colours, which colour-blind readers tell apart; dark ones and light ones by turns.
COLOURS = ("#0072B2", "#E69F00", "#000000", "#D55E00", "#56B4E9", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "d", "h", "8")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (5, 1.5, 1, 1.5, 1, 1.5)),
)
GREY = "0.72"
MARKED_UP_TO = 40  # points; more would run into each other
MOST_STYLES = len(MARKERS)
"""So many lines are told apart, in grey too."""

_POINTS = 8
_FONT = "DejaVu Sans"  # comes with matplotlib, so that a picture is the same everywhere
_LOOK: Any = {
    "font.family": _FONT,
    "font.size": _POINTS,
    "axes.titlesize": _POINTS,
    "axes.labelsize": _POINTS,
    "figure.titlesize": _POINTS,
    "legend.fontsize": _POINTS,
    "legend.title_fontsize": _POINTS,
    "xtick.labelsize": _POINTS,
    "ytick.labelsize": _POINTS,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    # Names of users' own are no mathematics: a "$" is a dollar.
    "text.parse_math": False,
    "text.usetex": False,
    # Outlines as TrueType and not as drawing commands: editable, searchable, and what journals ask.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "fedcode",
    "savefig.bbox": None,
    "figure.dpi": 200,
    "savefig.dpi": 200,
}

P = ParamSpec("P")
T = TypeVar("T")


class Style(NamedTuple):
    """What tells one line from the others, also without its colour."""

    colour: str
    marker: str
    dash: Any


def style(number: int) -> Style:
    """The style of the line of this number; after ``MOST_STYLES`` markers repeat.

    Args:
      number: from 0.

    Returns:
      Its colour, marker and dash.

    Example:
      >>> len({style(number).marker for number in range(MOST_STYLES)}) == MOST_STYLES
      True
    """
    return Style(
        COLOURS[number % len(COLOURS)],
        MARKERS[number % len(MARKERS)],
        DASHES[number % len(DASHES)],
    )


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Makes a function draw in this style: matplotlib's settings are as before when it returns.

    Args:
      draw: makes a figure, or writes one.

    Returns:
      The same in this style.
    """

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib

        with matplotlib.rc_context(_LOOK):
            return draw(*args, **kwargs)

    return inside


def blank(width: float, height: float) -> "Figure":
    """An empty figure; called in what is ``styled``.

    Args:
      width: in inches.
      height: in inches.

    Returns:
      A figure that no window system and no global state knows of.
    """
    # The object interface: pyplot keeps figures alive and would choose a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def drawable() -> frozenset[int]:
    """The code points that the font of pictures has."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_FONT)).get_charmap())
