"""Accuracy against rounds and against what was sent."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# Okabe and Ito's colours, which colour-blind readers tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKED_UP_TO = 40  # points; more would run into each other
_LEGEND = {"frameon": False, "fontsize": "small", "loc": "best"}


def plot_curves(
    records_by_label: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]
) -> None:
    """Draws the curves of one run or several: accuracy over rounds, and over megabytes sent.

    The server's weights are drawn solid, the deployed model dashed. Rounds that were not
    evaluated have no point; the line joins those that were. The axis of megabytes is
    logarithmic if the runs differ by more than 8 times.

    Args:
      records_by_label: the records of each run by its label in the legend; a run may have none.
      path: the PNG file to write.

    Raises:
      OSError: the file cannot be written.
    """
    # The object interface: pyplot keeps figures alive and would choose a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    by_round, by_bytes = figure.subplots(1, 2, sharey=True)
    entries: dict[str, Line2D] = {}
    any_dashed = False
    for number, (label, records) in enumerate(records_by_label.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        for axes, key, scale in ((by_round, "round", 1), (by_bytes, "cumulative_bytes", 1e6)):
            solid = _draw(axes, records, key, "test_accuracy", scale, color=colour)
            dashed = _draw(axes, records, key, "deployed_accuracy", scale, color=colour, ls="--")
        entries |= {label: solid[0]} if solid else {}
        any_dashed = any_dashed or bool(dashed)

    by_round.set(xlabel="round", ylabel="test accuracy")
    by_round.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    by_bytes.set(xlabel="sent, up and down together (MB)")
    if _spread(records_by_label) > 8:
        by_bytes.set_xscale("log")
        by_bytes.xaxis.set_major_formatter(lambda megabytes, _: f"{megabytes:g}")
    for axes in (by_round, by_bytes):
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    if any_dashed:
        entries["as deployed"] = Line2D([], [], color="0.4", ls="--", lw=1.5)
    if entries:
        # Handed over, since the axes' own legend leaves out labels that begin with "_".
        legend = by_round.legend(list(entries.values()), list(entries), **_LEGEND)
        for text in legend.get_texts():
            text.set_parse_math(False)
    figure.savefig(path, format="png")


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
    marker = "o" if len(points) <= _MARKED_UP_TO else ""
    return axes.plot(*zip(*points, strict=True), lw=1.4, ms=3, marker=marker, **style)


def _spread(records_by_label: Mapping[str, Sequence[Mapping[str, Any]]]) -> float:
    """Bytes of the run that sent most over bytes of the run that sent least, of those that did."""
    totals = [run[-1]["cumulative_bytes"] for run in records_by_label.values() if run]
    totals = [total for total in totals if total > 0]
    return max(totals) / min(totals) if totals else 1.0
