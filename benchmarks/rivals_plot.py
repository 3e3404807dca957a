"""The picture of ``rivals.py``: accuracy against bytes, a point for each method."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rivals_table import Row
from updates import complete, mean

from fedcode_jax import drawing
from fedcode_jax.config.algorithms import FedAvg

_BLUE, _, _BLACK, _VERMILION, _, _GREEN, *_ = drawing.COLOURS
LOOKS = {
    "floats both ways": {"color": _BLACK, "marker": "s"},
    "changes compressed up": {"color": _BLUE, "marker": "^"},
    "changes compressed both ways": {"color": _GREEN, "marker": "o"},
    "methods of their own": {"color": _VERMILION, "marker": "D"},
}
TICKS = (20, 30, 40, 50, 60, 70, 80, 85, 90, 93, 95, 96, 97, 98, 98.5, 99, 99.5)
_NAMES = 7  # size of the names of methods, which are many
LEAST_APART = 0.2  # points between server and deployed, to draw both


@drawing.styled
def draw(title: str, parts: dict[str, list[Row]]) -> Any:
    """A panel for each partition; error is on a logarithmic axis, so that the good ones lie apart.

    Args:
      title: of the task.
      parts: rows by partition.

    Returns:
      The figure, as wide as a page.
    """
    from matplotlib.lines import Line2D

    figure = drawing.blank(drawing.WIDTHS["page"], 5.4 * len(parts))
    panels = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for axes, (partition, rows) in zip(panels, parts.items(), strict=True):
        shown = [row for row in rows if complete(row.runs)]
        panel(axes, shown)
        missing = [row.method for row in rows if row not in shown]
        below = f"\nwithout {', '.join(missing)}, which did not complete" if missing else ""
        axes.set_title(f"{title}, {partition}{below}")
    names = [*LOOKS, "hollow: as deployed, where it differs"]
    dots = [Line2D([], [], ls="", **look) for look in LOOKS.values()]
    dots.append(Line2D([], [], ls="", marker="o", color="grey", mfc="white"))
    drawing.legend_below(figure, dots, names)
    figure.draw_without_rendering()  # places the panels, on which labels depend
    figure.set_layout_engine("none")
    for axes, rows in zip(panels, parts.values(), strict=True):
        label(axes, [row for row in rows if complete(row.runs)])
    return figure


def family(row: Row) -> str:
    """What a method does to what it sends."""
    algorithm: Any = row.config.algorithm
    if not isinstance(algorithm, FedAvg):
        return "methods of their own"
    if algorithm.down.name != "none":
        return "changes compressed both ways"
    return "floats both ways" if algorithm.up.name == "none" else "changes compressed up"


def place(row: Row, name: str = "last_ten_accuracy") -> tuple[float, float]:
    """Megabytes, and accuracy in percent."""
    return row.bytes / 1e6, 100 * mean(row.runs, name)


def panel(axes: Any, rows: Sequence[Row]) -> None:
    """The points of a partition, with their spread, and hollow where the deployed model differs."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    # An error of 100 % has no place on a logarithmic axis, nor has none.
    axes.set_yscale(
        "function",
        functions=(
            lambda y: -np.log10(np.clip(100 - y, 0.05, None)),
            lambda z: 100 - 10 ** (-np.asarray(z)),
        ),
    )
    axes.set_xscale("log")
    for row in rows:
        (x, y), look = place(row), LOOKS[family(row)]
        values = [100 * run["last_ten_accuracy"] for run in row.runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0
        axes.errorbar(x, y, spread, ls="", elinewidth=0.6, capsize=1.5, **look)
        _, deployed = place(row, "last_ten_deployed_accuracy")
        if abs(deployed - y) > LEAST_APART:
            axes.plot([x, x], [y, deployed], ":", color=look["color"], lw=0.8)
            axes.plot(x, deployed, mfc="white", **look)
    if rows:
        sent = [row.bytes / 1e6 for row in rows]
        axes.set_xlim(min(sent) / 1.5, max(sent) * 1.5)
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in TICKS if low <= tick <= high])
    axes.set_ylim(low, high)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("MB up and down together, all clients and rounds")
    axes.set_ylabel("accuracy (%), mean of the last 10 rounds, ± standard deviation over seeds")
    drawing.tidy(axes)


def label(axes: Any, rows: Sequence[Row]) -> None:
    """Names every point, where its name covers no other name and no point, with a line to it."""
    from matplotlib.text import Text

    points = [axes.transData.transform(place(row)) for row in rows]
    hollow = [axes.transData.transform(place(row, "last_ten_deployed_accuracy")) for row in rows]
    frame = axes.get_window_extent()
    point = axes.figure.dpi / 72
    mark = 3 * point
    taken = [[x - mark, y - mark, x + mark, y + mark] for x, y in (*points, *hollow)]
    for row, (x, y) in zip(rows, points, strict=True):
        text = axes.annotate(
            row.method,
            place(row),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=_NAMES,
            color=LOOKS[family(row)]["color"],
            va="center",
            ha="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 0},
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "grey", "shrinkA": 0, "shrinkB": 2},
        )
        size = Text.get_window_extent(text)  # an annotation's own has its line as well
        width, height = size.width / 2 + point, size.height / 2
        best, chosen = float("inf"), (0.0, 12.0)
        for dx, dy in around(width, height, point):
            box = [x + dx - width, y + dy - height, x + dx + width, y + dy + height]
            outside = max(
                frame.x0 - box[0], frame.y0 - box[1], box[2] - frame.x1, box[3] - frame.y1
            )
            covered = sum(overlap(box, other) for other in taken) + 1e4 * max(outside, 0)
            if covered < best:
                best, chosen = covered, (dx, dy)
            if not covered:
                break
        dx, dy = chosen
        text.set_position((dx / point, dy / point))
        taken.append([x + dx - width, y + dy - height, x + dx + width, y + dy + height])


def around(width: float, height: float, point: float) -> Iterator[tuple[float, float]]:
    """Places of a label around its point in pixels, of which ``point`` are one; near ones first."""
    for distance in range(4, 260, 5):
        for angle in np.linspace(0, 2 * np.pi, 8 + distance // 4, endpoint=False):
            dx, dy = np.cos(angle), np.sin(angle)
            yield dx * (distance * point + width), dy * (distance * point + height)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Area that two boxes have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
