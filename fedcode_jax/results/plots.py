"""Accuracy against rounds and against what was sent."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcode_jax import drawing
from fedcode_jax.results.writing import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Records = Sequence[Mapping[str, Any]]

_SERVER = "test_accuracy"
_OTHERS = {
    "as deployed": ("deployed_accuracy", drawing.DASHES[1]),
    "own models": ("personal_accuracy", drawing.DASHES[2]),
}


def plot_curves(records_by_label: Mapping[str, Records], path: str | os.PathLike[str]) -> None:
    """Draws the curves of one run or several: accuracy over rounds, and over megabytes sent.

    The server's weights are drawn solid, the deployed model dashed; dotted, the mean of clients'
    own models, each on its client's own distribution. Rounds that were not evaluated have no point;
    the line joins those that were. The axis of megabytes is logarithmic if the runs differ by more
    than 8 times.

    Args:
      records_by_label: the records of each run by its label in the legend; a run may have none.
      path: the file to write; its ending gives the format (png, pdf, svg).

    Returns:
      The figure.
    """
    file = Path(path)
    kind = file.suffix.removeprefix(".") or "png"
    write_atomically(file, drawing.encoded(curves(records_by_label), kind))


@drawing.styled
def curves(records_by_label: Mapping[str, Records]) -> "Figure":
    """The picture of ``plot_curves``.

    Args:
      records_by_label: as there.

    Returns:
      The figure, as wide as a page; with one run, its lines differ in colour as well.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    figure = drawing.blank(drawing.WIDTHS["page"], 2.7)
    by_round, by_bytes = figure.subplots(1, 2, sharey=True)
    alone = len(records_by_label) == 1
    names = drawing.shortened(list(records_by_label))
    shown: list[tuple[str, Line2D]] = []
    others: dict[str, Line2D] = {}
    for number, (label, records) in enumerate(zip(names, records_by_label.values(), strict=True)):
        style = drawing.style(number)
        found = _draw(by_round, by_bytes, records, _SERVER, style.colour, "-", style.marker)
        shown += [(label, found)] if found else []
        for turn, (name, (key, dash)) in enumerate(_OTHERS.items(), 1):
            own = drawing.style(turn) if alone else style
            line = _draw(by_round, by_bytes, records, key, own.colour, dash, own.marker)
            if line:
                # In grey where runs have colours of their own.
                others[name] = line if alone else Line2D([], [], color="0.4", ls=dash)
    shown += others.items()

    by_round.set(xlabel="round", ylabel="test accuracy (%)")
    by_round.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    by_bytes.set(xlabel="sent, up and down together (MB)")
    totals = [run[-1]["cumulative_bytes"] for run in records_by_label.values() if run]
    drawing.scale_log_if_wide(by_bytes, totals)
    for axes in (by_round, by_bytes):
        drawing.tidy(axes)
    drawing.legend_below(figure, [line for _, line in shown], [name for name, _ in shown])
    return figure


def _draw(
    by_round: "Axes",
    by_bytes: "Axes",
    records: Records,
    key: str,
    colour: str,
    dash: Any,
    marker: str,
) -> "Line2D | None":
    """Draws a figure of a run in both panels; None if no round has it."""
    known = [r for r in records if r.get(key) is not None and math.isfinite(r[key])]
    if not known:
        return None
    accuracies = [100 * record[key] for record in known]
    look = {"color": colour, "ls": dash, "marker": marker}
    # A few marks on a long curve tell it from others without its colour.
    look["markevery"] = max(1, len(known) // 10) if len(known) > drawing.MARKED_UP_TO else 1
    by_bytes.plot([record["cumulative_bytes"] / 1e6 for record in known], accuracies, **look)
    (line,) = by_round.plot([record["round"] for record in known], accuracies, **look)
    return line
