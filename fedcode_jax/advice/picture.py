"""The picture of an advice: what every choice costs, against what it keeps."""

import math
from typing import TYPE_CHECKING, Any

from fedcode_jax import drawing
from fedcode_jax.advice.advising import Advice
from fedcode_jax.advice.choosing import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_SPAN = 0.02  # of accuracy
_BELOW = 2.0  # the axis goes so many times as far under the floor as the best choice is above it


@drawing.styled
def plot_choices(advice: Advice) -> "Figure":
    """What every choice costs against what the floor is of, the recommended one and it marked.

    A floor in accuracy is drawn over accuracy, one in points under FedAvg over these, so that the
    bars are those of the decision. Colours are algorithms, markers schedules.

    Args:
      advice: the answer.

    Returns:
      The figure; bars are 90 % intervals where there are more than two seeds. Choices far under the
      floor lie on the lower edge, as hollow markers.
    """
    figure, (axes,) = drawing.panels("page", 1)
    shown = [each for each in advice.estimates if each.seeds and math.isfinite(each.accuracy)]
    lowest = _lowest(advice, shown)
    handles = _draw_choices(axes, advice, shown, lowest)
    best = advice.verdict.best
    (ring,) = axes.plot(
        _cost(advice, best), max(_height(advice, best), lowest), "o", ms=12, mfc="none", mec="0.2",
        mew=1.2, label="recommended" if advice.verdict.status != "impossible" else "most accurate",
    )  # fmt: skip
    floor = 100 * (advice.floor.accuracy or 0) - 100 * (advice.floor.loss or 0)
    line = axes.axhline(floor, color="0.45", lw=1.0, ls=":", label="floor")
    handles += [ring, line]
    by_accuracy = advice.floor.accuracy is not None
    axes.set(
        xlabel=_unit(advice)[1],
        ylabel="accuracy as deployed (%)" if by_accuracy else "accuracy above FedAvg's (points)",
    )
    axes.set_ylim(bottom=lowest - 0.02 * (axes.get_ylim()[1] - lowest))
    drawing.scale_log_if_wide(axes, [_cost(advice, each) for each in shown])
    drawing.tidy(axes)
    drawing.legend_below(figure, handles, [str(handle.get_label()) for handle in handles])
    return figure


def _draw_choices(axes: "Axes", advice: Advice, shown: list[Estimate], lowest: float) -> list[Any]:
    """Draws the choices; gives the handles of the legend."""
    algorithms = sorted({each.choice.called for each in shown})
    rules = sorted({each.choice.rule for each in shown})
    handles = []
    for name in algorithms:
        colour = drawing.COLOURS[algorithms.index(name) % len(drawing.COLOURS)]
        own = [each for each in shown if each.choice.called == name]
        for rule in sorted({each.choice.rule for each in own}):
            marker = drawing.MARKERS[rules.index(rule) % len(drawing.MARKERS)]
            for each in (one for one in own if one.choice.rule == rule):
                height = _height(advice, each)
                bar = 100 * advice.floor.margin(each)[1] if each.seeds > 2 else None
                axes.errorbar(
                    _cost(advice, each), max(height, lowest), yerr=bar if height > lowest else None,
                    fmt=marker, color=colour, ms=5, elinewidth=0.7, capsize=2,
                    mfc=colour if height > lowest else "none",
                )  # fmt: skip
            label = f"{name}, {rule}" if rule else name
            handles += axes.plot([], [], marker, color=colour, label=label)
    return handles


def _height(advice: Advice, each: Estimate) -> float:
    return 100 * (each.accuracy if advice.floor.accuracy is not None else -each.loss)


def _lowest(advice: Advice, shown: list[Estimate]) -> float:
    """The lower end of the axis: of what lies far under the floor it is enough that it does."""
    margins = [advice.floor.margin(each)[0] for each in shown]
    above = max([*margins, _LEAST_SPAN])
    floor = 100 * (advice.floor.accuracy or 0) - 100 * (advice.floor.loss or 0)
    return max(floor - 100 * _BELOW * above, min(_height(advice, each) for each in shown))


def _unit(advice: Advice) -> tuple[float, str]:
    """What a cost is divided by, and what the axis is called."""
    if advice.objective == "bytes":
        return 1e6, "sent in a run, both ways (MB)"
    longest = max(each.seconds for each in advice.estimates if each.seeds)
    for seconds, name in ((3600, "h"), (60, "min")):
        if longest >= 2 * seconds:
            return seconds, f"simulated time of a run ({name})"
    return 1, "simulated time of a run (s)"


def _cost(advice: Advice, each: Estimate) -> float:
    return float(getattr(each, advice.objective)) / _unit(advice)[0]
