"""The picture of which rows are Pareto-best: accuracy against bytes and against time."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fedcode_jax import drawing
from fedcode_jax.results.report.curves import time_unit
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.standing import (
    COSTS,
    Rank,
    column,
    measure,
    standings,
    task_of_row,
)
from fedcode_jax.results.report.table import Statistic, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_FILLS: dict[Rank, Any] = {"best": "full", "not told apart": "bottom", "dominated": "none"}
_TOLD: dict[Rank, str] = {
    "best": "filled: Pareto-best",
    "not told apart": "half: not told apart from it",
    "dominated": "hollow: dominated",
}
_STEP: dict[str, Any] = {"color": "0.45", "lw": 1.0, "ls": ":"}


class Place(NamedTuple):
    """Where a group stands.

    Attributes:
      group: the group.
      cost: bytes sent in a run, both ways, or its simulated seconds.
      accuracy: mean of the last period, or of the last round, as ``measure`` says.
      rank: as accuracy against this cost goes.
      task: what data and partitions it is of.
    """

    group: Group
    cost: Statistic
    accuracy: Statistic
    rank: Rank
    task: frozenset[str]


def places(table: Table, cost: str = "bytes") -> list[Place]:
    """The groups of a table that have both figures, in its order.

    Args:
      table: the table.
      cost: ``bytes`` or ``seconds``.

    Returns:
      Their places.
    """
    ranks = [getattr(each, cost) for each in table.standings or standings(table)]
    figures = zip(column(table, COSTS[cost]), column(table, measure(table)), strict=True)
    found = [
        Place(group, *both, rank, task_of_row(group, with_network=cost == "seconds"))
        for group, both, rank in zip(table.groups, figures, ranks, strict=True)
    ]
    return [each for each in found if each.rank]


def best_first(table: Table) -> list[Group]:
    """The groups of a table, those that are best by bytes first, then by accuracy."""
    ranked = places(table)
    ranked.sort(key=lambda place: -(place.accuracy.mean or 0.0))
    ranked.sort(key=lambda place: place.rank != "best")
    first = [place.group for place in ranked]
    return first + [group for group in table.groups if group not in first]


@drawing.styled
def plot_frontier(
    table: Table, styles: Mapping[str, drawing.Style], width: drawing.Width = "page"
) -> "Figure":
    """Accuracy, as of ``measure``, against bytes of a run and, where recorded, against its time.

    Args:
      table: the table.
      styles: by label; groups without one are grey and not in the legend.
      width: of the figure.

    Returns:
      The figure. Bars are one standard deviation to each side; a step joins the best of a task.
    """
    from matplotlib.lines import Line2D

    by_bytes, by_time = places(table), places(table, "seconds")
    figure, panels = drawing.panels(width, 1 + bool(by_time))
    longest = max((place.cost.mean or 0.0 for place in by_time), default=0.0)
    unit, name = time_unit(longest)
    _draw(panels[0], by_bytes, styles, 1e6)
    panels[0].set(xlabel="sent in a run, up and down together (MB)")
    if by_time:
        _draw(panels[1], by_time, styles, unit)
        panels[1].set(xlabel=f"simulated time of a run ({name})")
    window = "mean of last period" if measure(table) == "period_accuracy" else "last round"
    for axes in panels[: None if width == "column" else 1]:
        axes.set(ylabel=f"accuracy, {window} (%)")
    handles: list[tuple[Any, str]] = [
        (_marker(styles[place.group.label]), place.group.legend)
        for place in by_bytes
        if place.group.label in styles
    ]
    ranks = [rank for rank in _TOLD if any(p.rank == rank for p in (*by_bytes, *by_time))]
    if len(by_bytes) > 1:
        grey: dict[str, Any] = {"color": "0.45", "ls": "", "marker": "o", "ms": 6}
        handles += [(Line2D([], [], fillstyle=_FILLS[r], **grey), _TOLD[r]) for r in ranks]
        handles.append((Line2D([], [], **_STEP), "frontier"))
    drawing.legend_below(figure, *zip(*handles, strict=True)) if handles else None
    return figure


def _marker(style: drawing.Style) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.colour, marker=style.marker, ms=6, ls="")


def _draw(
    axes: "Axes", shown: Sequence[Place], styles: Mapping[str, drawing.Style], unit: float
) -> None:
    """The points of a panel with their bars, and a step for each task."""
    for task in {place.task: None for place in shown}:
        best = [
            ((place.cost.mean or 0.0) / unit, 100 * (place.accuracy.mean or 0.0))
            for place in shown
            if place.task == task and place.rank == "best"
        ]
        axes.step(*zip(*sorted(best), strict=True), where="post", zorder=1, **_STEP)
    for place in shown:
        style = styles.get(place.group.label)
        axes.errorbar(
            (place.cost.mean or 0.0) / unit,
            100 * (place.accuracy.mean or 0.0),
            xerr=None if not place.cost.sd else place.cost.sd / unit,
            yerr=None if place.accuracy.sd is None else 100 * place.accuracy.sd,
            fmt=style.marker if style else "o",
            color=style.colour if style else drawing.GREY,
            fillstyle=_FILLS[place.rank],
            markerfacecoloralt="white",
            ms=6 if style else 4,
            elinewidth=0.7,
            capsize=2,
            zorder=3 if style else 2,
        )
    drawing.scale_log_if_wide(axes, [(place.cost.mean or 0.0) / unit for place in shown])
    drawing.tidy(axes)
