"""The picture of a partition: one bar a client, one colour a class."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MOST_LABELS = 20


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
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    clients, classes = counts.shape
    figure = Figure(figsize=(min(14.0, max(7.0, 3 + 0.25 * clients)), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if classes <= _MOST_LABELS:
        colors = matplotlib.colormaps["tab10" if classes <= 10 else "tab20"](range(classes))
    else:
        colors = matplotlib.colormaps["turbo"](np.linspace(0, 1, classes))
    names = list(class_names or map(str, range(classes)))
    edges = np.arange(clients + 1) - 0.5
    # A step reaches from one edge to the next, so the last client's values stand at both its edges.
    top = np.cumsum(np.concatenate([counts, counts[-1:]]), axis=1)
    bottom = np.pad(top, ((0, 0), (1, 0)))
    for k in range(classes):
        # One shape a class, not one a bar: 500 clients of 100 classes take a second, not a minute.
        axes.fill_between(
            edges,
            bottom[:, k],
            top[:, k],
            step="post",
            color=colors[k],
            linewidth=0,
            label=names[k],
        )
    if clients <= 60:
        axes.vlines(edges[1:-1], 0, top.max(), color="white", linewidth=max(0.5, 40 / clients))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, fontsize=10)
    axes.set(
        xlabel="client",
        ylabel="samples",
        xlim=(edges[0], edges[-1]),
        ylim=(0, 1.03 * top.max()),
    )
    axes.spines[["top", "right"]].set_visible(False)
    if classes <= _MOST_LABELS:
        axes.legend(
            title="class", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
