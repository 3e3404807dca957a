"""Which groups are not beaten: accuracy against bytes, a point a group."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fedcode_jax.results import drawing
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.table import Statistic, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Place(NamedTuple):
    """Where a group stands.

    Attributes:
      group: the group.
      bytes: sent in a run, both ways.
      accuracy: mean of the last period, or of the last round, as ``measure`` says.
    """

    group: Group
    bytes: Statistic
    accuracy: Statistic


def measure(table: Table) -> str:
    """The accuracy by which the groups are compared: the column that all of them have.

    That is the mean of the last period, unless a group has no period (its schedule goes by what it
    sees, or its periods are longer than the run): then it is the last round, for all.
    """
    names = [column.name for column in table.columns]
    final, period = names.index("final_accuracy"), names.index("period_accuracy")
    lacking = any(row[period].mean is None and row[final].mean is not None for row in table.cells)
    return "final_accuracy" if lacking else "period_accuracy"


def places(table: Table) -> list[Place]:
    """The groups of a table that have both figures, in its order."""
    names = [column.name for column in table.columns]
    size, accuracy = names.index("total_bytes"), names.index(measure(table))
    found = [
        Place(group, cells[size], cells[accuracy])
        for group, cells in zip(table.groups, table.cells, strict=True)
    ]
    return [each for each in found if None not in (each.bytes.mean, each.accuracy.mean)]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other point beats: none costs less at as much gain, or gains more.

    Args:
      points: cost and gain of each.

    Returns:
      Their indices, by rising cost; of equal points all.

    Example:
      >>> pareto([(1.0, 0.5), (2.0, 0.9), (3.0, 0.8), (2.0, 0.7)])
      [0, 1]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    for i in order:
        if not kept or points[i][1] > points[kept[-1]][1] or points[i] == points[kept[-1]]:
            kept.append(i)
    return kept


def best_first(table: Table) -> list[Group]:
    """The groups of a table, those on the frontier first, then by accuracy."""
    ranked = places(table)
    on_frontier = {ranked[i].group.label for i in pareto(_points(ranked))}
    ranked.sort(key=lambda place: -(place.accuracy.mean or 0.0))
    ranked.sort(key=lambda place: place.group.label not in on_frontier)
    first = [place.group for place in ranked]
    return first + [group for group in table.groups if group not in first]


def plot_frontier(table: Table, styles: dict[str, drawing.Style]) -> "Figure":
    """Bytes of a run against its accuracy, as of ``measure``, with the frontier as a step.

    Args:
      table: the table.
      styles: by label; groups without one are grey and not in the legend.

    Returns:
      The figure. Bars are one standard deviation to each side.
    """
    from matplotlib.lines import Line2D

    figure = drawing.blank(8, 4.6)
    axes = figure.subplots()
    shown = places(table)
    points = _points(shown)
    chosen = [points[i] for i in pareto(points)]
    handles, labels = [], []
    if chosen:
        axes.step(*zip(*chosen, strict=True), where="post", color="0.45", lw=1.2, ls=":", zorder=1)
    for place, (x, y) in zip(shown, points, strict=True):
        style = styles.get(place.group.label)
        colour, marker = (style.colour, style.marker) if style else (drawing.GREY, "o")
        axes.errorbar(
            x,
            y,
            xerr=None if not place.bytes.sd else place.bytes.sd / 1e6,
            yerr=None if place.accuracy.sd is None else 100 * place.accuracy.sd,
            fmt=marker,
            color=colour,
            # Hollow where colours and markers come round again.
            mfc="white" if style and style.dash != drawing.DASHES[0] else colour,
            ms=7 if style else 5,
            elinewidth=1,
            capsize=3,
            zorder=3 if style else 2,
        )
        if style:
            fill = "white" if style.dash != drawing.DASHES[0] else colour
            handles.append(Line2D([], [], color=colour, marker=marker, mfc=fill, ms=7, ls=""))
            labels.append(place.group.legend)
    if len(chosen) > 1:
        handles.append(Line2D([], [], color="0.45", lw=1.2, ls=":"))
        labels.append("frontier")
    axes.set(xlabel="sent in a run, up and down together (MB)")
    window = "mean of last period" if measure(table) == "period_accuracy" else "last round"
    axes.set(ylabel=f"accuracy, {window} (%)")
    drawing.scale_log_if_wide(axes, [x for x, _ in points])
    drawing.tidy(axes)
    drawing.legend_below(figure, handles, labels)
    return figure


def _points(shown: Sequence[Place]) -> list[tuple[float, float]]:
    """Megabytes and per cent."""
    return [((each.bytes.mean or 0.0) / 1e6, 100 * (each.accuracy.mean or 0.0)) for each in shown]
