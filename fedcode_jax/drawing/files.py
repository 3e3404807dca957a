"""Pictures as files: the same picture is the same bytes, whenever it is drawn."""

import io
from typing import TYPE_CHECKING

from fedcode_jax.drawing.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UNDATED: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None},
    "ps": {"CreationDate": None},
    "svg": {"Date": None},
}


@styled
def encoded(figure: "Figure", kind: str) -> bytes:
    """A figure as a file.

    Args:
      figure: drawn by a function that is ``styled``.
      kind: ``png``, ``pdf``, ``svg``, or another format of matplotlib.

    Returns:
      The file; without a date, its fonts embedded.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=_UNDATED.get(kind))
    return buffer.getvalue()


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file of 200 dots an inch."""
    return encoded(figure, "png")
