"""A bar a group: how accuracy spreads over clients, and where simulated time goes."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fedcode_jax import drawing
from fedcode_jax.results.report.curves import time_unit
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.runs import Run
from fedcode_jax.results.report.table import statistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = ("computing", "sending", "waiting")
_BLUE, _ORANGE, _, _VERMILION, _SKY = drawing.COLOURS[:5]
_COLOURS = dict(zip(PARTS, (_BLUE, _ORANGE, "#CCCCCC"), strict=True))
_HATCHES = dict(zip(PARTS, ("", "////", "...."), strict=True))
_WHOLE = "total (parts not recorded)"
_DIAMOND: dict[str, Any] = {"color": _VERMILION, "mec": "white", "ms": 6}
_LETTERS: dict[drawing.Width, int] = {"page": 36, "column": 18}  # of a label in a line
_TALLEST = 60  # inches


def client_accuracies(group: Group) -> list[float]:
    """The accuracies of all clients of all completed runs of a group, of the server's weights."""
    found: list[Any] = []
    for run in group.completed:
        found += (run.evaluation.get("client_accuracy") or {}).get("server") or []
    return [float(each) for each in found if each is not None and math.isfinite(each)]


@drawing.styled
def plot_fairness(groups: Sequence[Group], width: drawing.Width = "page") -> "Figure":
    """Accuracy over clients at the last evaluation, a box a group.

    Args:
      groups: from top to bottom.
      width: of the figure.

    Returns:
      The figure; groups without accuracies of clients are not in it. Boxes are quartiles, with
      the median in them, whiskers reach the extremes, and a diamond is the mean over the runs of
      the worst tenth.
    """
    from matplotlib.lines import Line2D

    all_samples = [(group, client_accuracies(group)) for group in groups]
    drawn = [(group, samples) for group, samples in all_samples if samples]
    figure, axes = _rows([group for group, _ in drawn], width)
    if drawn:
        boxes = axes.boxplot(
            [[100 * each for each in samples] for _, samples in drawn],
            positions=range(len(drawn)),
            orientation="horizontal",
            whis=(0, 100),
            widths=0.55,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black", "linewidth": 1.4},
        )
        for box in boxes["boxes"]:
            box.set(facecolor=_SKY, alpha=0.6)
    for row, (group, _) in enumerate(drawn):
        worst = statistic(
            (run.summary.get("client_accuracy") or {}).get("worst_decile")
            for run in group.completed
        )
        if worst.mean is not None:
            axes.plot(100 * worst.mean, row, "D", **_DIAMOND, zorder=4)
    axes.set(xlabel="accuracy of a client (%)")
    diamond = Line2D([], [], marker="D", ls="", **_DIAMOND)
    drawing.legend_below(figure, [diamond] if drawn else [], ["worst tenth of the clients"])
    return figure


def seconds_by_part(run: Run) -> dict[str, float]:
    """Simulated seconds of a run by what passes them.

    Args:
      run: the run.

    Returns:
      Seconds of ``computing``, ``sending`` and ``waiting``; of runs whose records do not tell
      them apart, their total; empty if the records have none.

    Example:
      >>> from pathlib import Path
      >>> seconds_by_part(Run(Path(), {}, {}, [{"simulated_seconds": 2.0}], {}, {}))
      {'total (parts not recorded)': 2.0}
    """
    parts = {part: _sum(run, f"{part}_seconds") for part in PARTS}
    if not any(math.isnan(seconds) for seconds in parts.values()):
        return parts
    whole = _sum(run, "simulated_seconds")
    return {} if math.isnan(whole) else {_WHOLE: whole}


def _sum(run: Run, key: str) -> float:
    """The sum over the rounds; NaN if one does not have it."""
    values = [record[key] for record in run.records if record.get(key) is not None]
    return math.fsum(values) if values and len(values) == len(run.records) else math.nan


@drawing.styled
def plot_time(groups: Sequence[Group], width: drawing.Width = "page") -> "Figure":
    """Simulated seconds of a run by what passes them, a stacked bar a group.

    Args:
      groups: from top to bottom.
      width: of the figure.

    Returns:
      The figure: means over completed runs. A group in which a run does not tell the parts
      apart has one bar of the sum; one without simulated seconds is not in it.
    """
    from matplotlib.patches import Patch

    split = {group.label: _mean_parts(group.completed) for group in groups}
    drawn = [group for group in groups if split[group.label]]
    figure, axes = _rows(drawn, width)
    longest = max((sum(split[group.label].values()) for group in drawn), default=0.0)
    unit, name = time_unit(longest)
    used: dict[str, Any] = {}
    for row, group in enumerate(drawn):
        left = 0.0
        for part, seconds in split[group.label].items():
            look: dict[str, Any] = {"facecolor": _COLOURS.get(part, _SKY)}
            look |= {"edgecolor": "white", "hatch": _HATCHES.get(part, ""), "linewidth": 0.5}
            if seconds:
                axes.barh(row, seconds / unit, left=left / unit, height=0.6, **look)
                used.setdefault(part, Patch(**look))
            left += seconds
    axes.set(xlabel=f"simulated time of a run ({name})")
    order = [part for part in (*PARTS, _WHOLE) if part in used]
    if order:
        drawing.legend_below(figure, [used[part] for part in order], order)
    return figure


def _mean_parts(runs: Sequence[Run]) -> dict[str, float]:
    splits = [seconds_by_part(run) for run in runs]
    if not splits or not all(splits):
        return {}
    if any(_WHOLE in split for split in splits):
        return {_WHOLE: math.fsum(_all(splits)) / len(splits)}
    return {part: math.fsum(split[part] for split in splits) / len(splits) for part in PARTS}


def _all(splits: Iterable[dict[str, float]]) -> list[float]:
    return [seconds for split in splits for seconds in split.values()]


def _rows(groups: Sequence[Group], width: drawing.Width) -> "tuple[Figure, Axes]":
    """An empty figure with a row for each group, the first at the top."""
    labels = ["\n".join(textwrap.wrap(group.legend, _LETTERS[width])) for group in groups]
    lines = sum(max(2, label.count("\n") + 1) for label in labels)
    figure = drawing.blank(drawing.WIDTHS[width], min(0.8 + 0.15 * max(lines, 4), _TALLEST))
    axes = figure.subplots()
    axes.set_yticks(range(len(groups)), labels)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    drawing.tidy(axes)
    axes.grid(visible=False, axis="y")
    return figure, axes
