"""The picture of a partition: one bar a client, one colour a class."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedcode_jax import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 20
_LONGEST_NAME = 24


def draw(
    title: str,
    counts: NDArray[np.int64],
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
) -> None:
    """Draws stacked bars into an image file, without a display and without pyplot's global state.

    Args:
      title: above the picture.
      counts: int64 ``[C, classes]``, samples of each class at each client.
      path: the file; its ending gives the format. Missing folders are made.
      class_names: for the legend; default the numbers. Beyond 20 classes there is no legend.
    """
    path = Path(path)
    picture = drawing.encoded(
        stacked(title, counts, class_names), path.suffix.removeprefix(".") or "png"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)


@drawing.styled
def stacked(
    title: str, counts: NDArray[np.int64], class_names: Sequence[str] | None = None
) -> "Figure":
    """The picture itself; arguments as of ``draw``."""
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    clients, classes = counts.shape
    figure = drawing.blank(min(10.0, max(drawing.WIDTHS["page"], 2 + 0.17 * clients)), 3.0)
    axes = figure.add_subplot()
    # From dark to light, so that neighbours are told apart in grey as well.
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 1, classes))
    edges = np.arange(clients + 1) - 0.5
    # A step reaches from one edge to the next, so the last client's values stand at both its edges.
    top = np.cumsum(np.concatenate([counts, counts[-1:]]), axis=1)
    bottom = np.pad(top, ((0, 0), (1, 0)))
    # One shape a class, not one a bar: 500 clients of 100 classes take a second, not a minute.
    shapes = [
        axes.fill_between(edges, bottom[:, k], top[:, k], step="post", color=colors[k], linewidth=0)
        for k in range(classes)
    ]
    if clients <= 60:
        axes.vlines(edges[1:-1], 0, top.max(), color="white", linewidth=max(0.5, 24 / clients))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(drawing.readable(title))
    axes.set(
        xlabel="client",
        ylabel="samples",
        xlim=(edges[0], edges[-1]),
        ylim=(0, 1.03 * top.max()),
    )
    axes.spines[["top", "right"]].set_visible(False)
    if classes <= _MOST_LABELS:
        _explain(axes, shapes, list(class_names or map(str, range(classes))))
    return figure


def _explain(axes: "Axes", shapes: Sequence[Any], names: Sequence[str]) -> None:
    """The legend beside the bars, from the topmost class down."""
    short = drawing.shortened(names, _LONGEST_NAME)
    # The texts afterwards: some versions of matplotlib leave out labels that begin with "_".
    legend = axes.legend(
        shapes[::-1],
        ["x"] * len(shapes),
        title="class",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        handlelength=1.2,
    )
    for text, name in zip(legend.get_texts(), short[::-1], strict=True):
        text.set_text(name)
