"""Which pixels of a strided convolution's gradient an input pixel hears of.

The gradient of the input is a convolution of the output gradient with zeros between its pixels.
Taken by phase, the remainder of a pixel's place by the stride, there are no zeros to multiply.
"""

from typing import NamedTuple

import numpy as np

from fedcode_jax.models.winograd import Pads


class Phases(NamedTuple):
    """Of one axis: pixel stride * i + a of the input takes g[i + d] through row[d, a].

    Attributes:
      row: i64[shifts, stride], the row of the kernel, a + before - stride * d, or -1 where the
        kernel has no such row; one line for each d that any phase needs.
      around: zeros before and after g with which the first line is g[i], the second g[i + 1], ...
      size: how many pixels each phase has; together they may be a few too many.
    """

    row: np.ndarray
    around: tuple[int, int]
    size: int


def phases(
    image: tuple[int, ...], steps: tuple[int, ...], window: tuple[int, ...], stride: int, pads: Pads
) -> tuple[Phases, Phases]:
    """The phases of height and width.

    Args:
      image: height and width of the input.
      steps: of the output.
      window: of the kernel.
      stride: of the windows.
      pads: zeros before and after the image.

    Returns:
      Those of the height, those of the width.

    Example:
      >>> height, _ = phases((8, 8), (4, 4), (3, 3), 2, ((1, 0), (1, 0)))
      >>> height.row.tolist(), height.around, height.size
      ([[1, 2], [-1, 0]], (0, 1), 4)
    """
    height, width = (
        _of_axis(*sizes, stride)
        for sizes in zip(image, steps, window, (before for before, _ in pads), strict=True)
    )
    return height, width


def _of_axis(size: int, steps: int, window: int, before: int, stride: int) -> Phases:
    first, last = -((window - 1 - before) // stride), (stride - 1 + before) // stride
    shifts, phase = np.arange(first, last + 1)[:, None], np.arange(stride)
    row = phase + before - stride * shifts
    own = -(-size // stride)
    return Phases(
        np.where((row >= 0) & (row < window), row, -1), (-first, own - 1 + last - (steps - 1)), own
    )
