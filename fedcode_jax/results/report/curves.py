"""Mean curves over seeds: accuracy against rounds, bytes and simulated seconds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedcode_jax import drawing
from fedcode_jax.results.report.groups import Group
from fedcode_jax.results.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Styled = Sequence[tuple[Group, drawing.Style]]


class Curve(NamedTuple):
    """The mean over runs, at the rounds that were evaluated in all of them.

    Attributes:
      rounds: their numbers.
      mean: accuracy.
      sd: its sample standard deviation; None for a single run.
      bytes: mean of what was sent until then, both ways.
      seconds: mean of the simulated seconds until then; NaN where they are not known.
    """

    rounds: np.ndarray
    mean: np.ndarray
    sd: np.ndarray | None
    bytes: np.ndarray
    seconds: np.ndarray


def mean_curve(runs: Sequence[Run]) -> Curve | None:
    """Averages runs round by round.

    Args:
      runs: completed runs.

    Returns:
      The curve, or None if no round was evaluated in all of them.
    """
    by_round = [{point.round: point for point in run.points()} for run in runs]
    common = sorted(set.intersection(*map(set, by_round))) if by_round else []
    if not common:
        return None
    # [runs, rounds, 3]
    figures = np.array([[run[number][1:] for number in common] for run in by_round], float)
    accuracy, sent, seconds = figures.mean(0).T
    sd = figures[:, :, 0].std(0, ddof=1) if len(runs) > 1 else None
    return Curve(np.array(common), accuracy, sd, sent, seconds)


@drawing.styled
def plot_rounds(styled: Styled, width: drawing.Width = "page") -> "Figure":
    """Accuracy over rounds: means, with a band of one standard deviation to each side.

    Args:
      styled: groups with their styles.
      width: of the figure.

    Returns:
      The figure; groups without a curve are not in it.
    """
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = drawing.panels(width, 1)
    handles, labels = [], []
    for group, style in styled:
        curve = mean_curve(group.completed)
        if curve is None:
            continue
        if curve.sd is not None:
            low, high = 100 * (curve.mean - curve.sd), 100 * (curve.mean + curve.sd)
            axes.fill_between(curve.rounds, low, high, color=style.colour, alpha=0.18, linewidth=0)
        handles.append(_line(axes, curve.rounds, curve.mean, style))
        labels.append(group.legend)
    axes.set(xlabel="round", ylabel="test accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _fit_accuracies(axes)
    drawing.tidy(axes)
    drawing.legend_below(figure, handles, labels)
    return figure


@drawing.styled
def plot_costs(styled: Styled, width: drawing.Width = "page") -> "Figure":
    """Accuracy of the mean curves against what was sent, and against simulated time beside it.

    Args:
      styled: groups with their styles.
      width: of the figure.

    Returns:
      The figure; groups without a curve are not in it.
    """
    figure, (by_bytes, by_time) = drawing.panels(width, 2)
    curves = [(group, style, mean_curve(group.completed)) for group, style in styled]
    known = [(group, style, curve) for group, style, curve in curves if curve is not None]
    timed = [curve.seconds for *_, curve in known if np.isfinite(curve.seconds).all()]
    unit, name = time_unit(max((seconds[-1] for seconds in timed), default=0.0))
    handles, labels = [], []
    for group, style, curve in known:
        handles.append(_line(by_bytes, curve.bytes / 1e6, curve.mean, style))
        labels.append(group.legend)
        if np.isfinite(curve.seconds).all():
            _line(by_time, curve.seconds / unit, curve.mean, style)
    by_bytes.set(xlabel="sent, up and down together (MB)", ylabel="test accuracy (%)")
    by_time.set(xlabel=f"simulated time ({name})")
    if width == "column":
        by_time.set(ylabel="test accuracy (%)")
    drawing.scale_log_if_wide(by_bytes, [curve.bytes[-1] for *_, curve in known])
    drawing.scale_log_if_wide(by_time, [seconds[-1] for seconds in timed])
    if known and not timed:
        by_time.set_xticks([])
        by_time.text(0.5, 0.5, "not recorded", ha="center", transform=by_time.transAxes)
    _fit_accuracies(by_bytes)
    for axes in (by_bytes, by_time):
        drawing.tidy(axes)
    drawing.legend_below(figure, handles, labels)
    return figure


def time_unit(longest: float) -> tuple[float, str]:
    """The unit of an axis of time.

    Args:
      longest: seconds at its end.

    Returns:
      The unit in seconds, and its name.

    Example:
      >>> time_unit(100), time_unit(10_000)
      ((1.0, 's'), (3600.0, 'h'))
    """
    if longest < 300:
        return 1.0, "s"
    return (60.0, "min") if longest < 7200 else (3600.0, "h")


def _line(axes: "Axes", x: np.ndarray, accuracy: np.ndarray, style: drawing.Style) -> "Line2D":
    # A few marks on a long curve tell it from others without its colour; each curve has its own
    # places, so that marks of curves that run together are all seen.
    every = max(1, len(x) // 10)
    (line,) = axes.plot(
        x,
        100 * accuracy,
        color=style.colour,
        ls=style.dash,
        marker=style.marker,
        mec="white",
        mew=0.4,
        markevery=(drawing.MARKERS.index(style.marker) % every, every),
    )
    return line


def _fit_accuracies(axes: "Axes") -> None:
    """Ends the axis at 100 %, above which a band may reach but no accuracy can."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 101.0))
