"""Convolutions three columns wide with half the multiplications: Winograd's F(4, 3) along rows.

Four neighbouring pixels of a row need 12 products with three columns of a kernel. Seen as the
coefficients of polynomials, they follow from 6 products, the values at the points 0, 1, -1, 2,
-2 and infinity:

    y = A' [ (G k) * (B' x) ],   x: 6 pixels, k: 3 columns, y: 4 pixels, * by element

Here B' x and G k are computed for all tiles of a row; the products over channels and kernel rows
are six matrix products; A' brings the pixels back. In float32 the result is as accurate as a
direct convolution to a few units in the last place.
"""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

Pads = tuple[tuple[int, int], tuple[int, int]]

_TILE = 4
_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_POINTS = len(_B)
_BATCH = 16
"""Images whose transforms stay in the cache of a core."""


def winograd(x: Array, kernel: Array, pads: Pads) -> Array:
    """The convolution of ``conv`` with stride 1, for kernels three columns wide.

    Its derivatives are not as fast as those of ``native``, which calls this one.

    Args:
      x: f32[B, H, W, I].
      kernel: f32[kh, 3, I, O].
      pads: zeros before and after, of height and width; fewer than the kernel is high or wide.

    Returns:
      f32[B, H', W', O].

    Source: Winograd, Arithmetic complexity of computations, 1980; Lavin and Gray,
    arXiv 1509.09308, whose points these are.

    Example:
      >>> row = jnp.arange(6.0).reshape(1, 1, 6, 1)
      >>> winograd(row, jnp.ones((1, 3, 1, 1)), ((0, 0), (0, 0)))[0, 0, :, 0].round(4)
      Array([ 3.,  6.,  9., 12.], dtype=float32)
    """
    kh, kw, channels, features = kernel.shape
    height = x.shape[1] + sum(pads[0]) - kh + 1
    width = x.shape[2] + sum(pads[1]) - kw + 1
    factors = [
        u.reshape(kh * channels, features) for u in _combined(_G, [kernel[:, q] for q in range(kw)])
    ]

    rows = _tiles(x, kh, width, pads)
    pixels = _combined(_A, [row @ u for row, u in zip(rows, factors, strict=True)])
    y = jnp.stack(pixels, axis=3).reshape(x.shape[0], height, -1, features)
    return y[:, :, :width]


def _tiles(x: Array, kh: int, width: int, pads: Pads) -> list[Array]:
    """B' x for each point, with the kh rows of a window side by side.

    Returns:
      For each point f32[B, height, tiles, kh * I].
    """
    tiles = -(-width // _TILE)
    after = tiles * _TILE + 2 - x.shape[2] - pads[1][0]
    x = jnp.pad(x, ((0, 0), pads[0], (pads[1][0], after), (0, 0)))
    last = _TILE * (tiles - 1) + 1
    points = _combined(_B, [x[:, :, i : i + last : _TILE] for i in range(_POINTS)])
    height = x.shape[1] - kh + 1
    return [jnp.concatenate([v[:, u : u + height] for u in range(kh)], axis=3) for v in points]


def _combined(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """A small constant matrix times a list of arrays, without its zeros."""
    sums = []
    for row in matrix:
        terms = [
            part if c == 1 else float(c) * part for c, part in zip(row, parts, strict=True) if c
        ]
        sums.append(functools.reduce(jnp.add, terms))
    return sums


def suits(x: Array, kernel: Array, stride: int, pads: Pads) -> bool:
    """Whether ``winograd`` is faster than XLA's convolution on a CPU: measured by layers.

    With fewer than 32 channels the transforms cost more than the products they save, and so
    they do in large batches, outside the cache; the pixels that fill up the last tile of a
    narrow row are waste. Half precision would not be enough.
    """
    _, kw, channels, features = kernel.shape
    width = x.shape[2] + sum(pads[1]) - kw + 1
    filled = -(-width // _TILE) * _TILE <= 1.15 * width
    fits = x.shape[0] <= _BATCH and x.dtype == jnp.float32
    return fits and filled and (stride, kw) == (1, 3) and min(channels, features) >= 32
