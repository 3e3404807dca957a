"""Accuracy against rounds and against what was sent."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedcode_jax.results import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_LEGEND = {"frameon": False, "fontsize": "small", "loc": "best"}


def draw_curves(records_by_label: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Draws the curves of one run or several: accuracy over rounds, and over megabytes sent.

    The server's weights are drawn solid, the deployed model dashed; dotted, the mean of clients'
    own models, each on its client's own distribution. Rounds that were not evaluated have no point;
    the line joins those that were. The axis of megabytes is logarithmic if the runs differ by more
    than 8 times.

    Args:
      records_by_label: the records of each run by its label in the legend; a run may have none.

    Returns:
      The figure.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    figure = drawing.blank(10, 4.2)
    by_round, by_bytes = figure.subplots(1, 2, sharey=True)
    entries: dict[str, Line2D] = {}
    others = {"as deployed": ("deployed_accuracy", "--"), "own models": ("personal_accuracy", ":")}
    drawn: set[str] = set()
    for number, (label, records) in enumerate(records_by_label.items()):
        colour = drawing.COLOURS[number % len(drawing.COLOURS)]
        for axes, key, scale in ((by_round, "round", 1), (by_bytes, "cumulative_bytes", 1e6)):
            solid = _draw(axes, records, key, "test_accuracy", scale, color=colour)
            for name, (figure_of, line) in others.items():
                if _draw(axes, records, key, figure_of, scale, color=colour, ls=line):
                    drawn.add(name)
        entries |= {label: solid[0]} if solid else {}

    by_round.set(xlabel="round", ylabel="test accuracy")
    by_round.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    by_bytes.set(xlabel="sent, up and down together (MB)")
    totals = [run[-1]["cumulative_bytes"] for run in records_by_label.values() if run]
    drawing.scale_log_if_wide(by_bytes, totals)
    for axes in (by_round, by_bytes):
        drawing.tidy(axes)
    for name, (_, line) in others.items():
        if name in drawn:
            entries[name] = Line2D([], [], color="0.4", ls=line, lw=1.5)
    if entries:
        # Handed over, since the axes' own legend leaves out labels that begin with "_".
        legend = by_round.legend(list(entries.values()), list(entries), **_LEGEND)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def plot_curves(
    records_by_label: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]
) -> None:
    """Writes ``draw_curves`` into a file.

    Args:
      records_by_label: the records of each run by its label in the legend.
      path: the PNG file to write.

    Raises:
      OSError: the file cannot be written.
    """
    draw_curves(records_by_label).savefig(path, format="png")


def _draw(
    axes: "Axes",
    records: Sequence[Mapping[str, Any]],
    x_key: str,
    y_key: str,
    scale: float,
    **style: Any,
) -> "list[Line2D]":
    points = [
        (record[x_key] / scale, record[y_key])
        for record in records
        if record.get(y_key) is not None and math.isfinite(record[y_key])
    ]
    if not points:
        return []
    marker = "o" if len(points) <= drawing.MARKED_UP_TO else ""
    return axes.plot(*zip(*points, strict=True), lw=1.4, ms=3, marker=marker, **style)
