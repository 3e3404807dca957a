"""Convolutions three columns wide with half the multiplications: Winograd's F(4, 3) along rows.

Four neighbouring pixels of a row need 12 products with three columns of a kernel. Seen as the
coefficients of polynomials, they follow from 6 products, the values at the points 0, 1, -1, 2,
-2 and infinity:

    y = A' [ (G k) * (B' x) ],   x: 6 pixels, k: 3 columns, y: 4 pixels, * by element

Here B' x and G k are computed for all tiles of a row; the products over channels and kernel rows
are six matrix products; A' brings the pixels back. Both gradients take half the multiplications
as well: they are the same six products turned round, between the same transforms. In float32 the
results are as accurate as those of a direct convolution to a few units in the last place.
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
_CHANNELS, _MANY = 32, 64
"""Channels from which the products saved outweigh the transforms: in the cache, and outside."""


def winograd(x: Array, kernel: Array, pads: Pads) -> Array:
    """The convolution of ``conv`` with stride 1, for kernels three columns wide.

    Args:
      x: f32[B, H, W, I].
      kernel: f32[kh, 3, I, O].
      pads: zeros before and after, of height and width; fewer than the kernel is high or wide.

    Returns:
      f32[B, H', W', O]; ``gradients`` are its derivatives.

    Source: Winograd, Arithmetic complexity of computations, 1980; Lavin and Gray,
    arXiv 1509.09308, whose points these are.

    Example:
      >>> row = jnp.arange(6.0).reshape(1, 1, 6, 1)
      >>> winograd(row, jnp.ones((1, 3, 1, 1)), ((0, 0), (0, 0)))[0, 0, :, 0].round(4)
      Array([ 3.,  6.,  9., 12.], dtype=float32)
    """
    kh, _, _, features = kernel.shape
    width = x.shape[2] + sum(pads[1]) - 2
    rows = zip(_tiles(x, kh, width, pads), _factors(kernel), strict=True)
    pixels = _combined(_A, [row @ factor for row, factor in rows])
    y = jnp.stack(pixels, axis=3)
    return y.reshape(*y.shape[:2], -1, features)[:, :, :width]


def gradients(x: Array, kernel: Array, g: Array, pads: Pads) -> tuple[Array, Array]:
    """The gradients of ``winograd``, given that of its result.

    Automatic differentiation would find them as well, but sum over scattered tiles, which takes
    nearly twice as long.

    Args:
      x: f32[B, H, W, I].
      kernel: f32[kh, 3, I, O].
      g: f32[B, H', W', O], the gradient of the result.
      pads: as of ``winograd``.

    Returns:
      The gradients of x, f32[B, H, W, I], and of the kernel, f32[kh, 3, I, O].
    """
    kh, kw, channels, features = kernel.shape
    batch, height, width, _ = g.shape
    tiles = -(-width // _TILE)
    g = jnp.pad(g, ((0, 0), (0, 0), (0, tiles * _TILE - width), (0, 0)))
    g = g.reshape(batch * height * tiles, _TILE, features)
    products = _combined(_A.T, [g[:, i] for i in range(_TILE)])

    # The smaller side first: its transpose is what the product copies.
    factors = [
        product.T @ v.reshape(-1, kh * channels)
        for product, v in zip(products, _tiles(x, kh, width, pads), strict=True)
    ]
    columns = jnp.stack(_combined(_G.T, factors)).reshape(kw, features, kh, channels)
    of_kernel = columns.transpose(2, 0, 3, 1)

    points = []
    for product, factor in zip(products, _factors(kernel), strict=True):
        windows = (product @ factor.T).reshape(batch, height, tiles, kh, channels)
        rows = [
            jnp.pad(windows[..., u, :], ((0, 0), (u, kh - 1 - u), (0, 0), (0, 0)))
            for u in range(kh)
        ]
        points.append(functools.reduce(jnp.add, rows))
    # The last two of a tile's six pixels are the first two of the next tile.
    pixels = [jnp.pad(v, ((0, 0), (0, 0), (0, 1), (0, 0))) for v in _combined(_B.T, points)]
    for i in range(_POINTS - _TILE):
        pixels[i] += jnp.roll(pixels[_TILE + i], 1, axis=2)
    padded = jnp.stack(pixels[:_TILE], axis=3).reshape(batch, height + kh - 1, -1, channels)
    (top, _), (left, _) = pads
    return padded[:, top : top + x.shape[1], left : left + x.shape[2]], of_kernel


def _factors(kernel: Array) -> list[Array]:
    """G k for each point, f32[kh * I, O]."""
    columns = [kernel[:, q] for q in range(kernel.shape[1])]
    return [u.reshape(-1, kernel.shape[3]) for u in _combined(_G, columns)]


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

    With few channels the transforms cost more than the products they save, the more so in large
    batches, whose tiles leave the cache; the pixels that fill up the last tile of a narrow row
    are waste. Half precision would not be enough.
    """
    _, kw, channels, features = kernel.shape
    width = x.shape[2] + sum(pads[1]) - kw + 1
    filled = -(-width // _TILE) * _TILE <= 1.15 * width
    enough = min(channels, features) >= (_CHANNELS if x.shape[0] <= _BATCH else _MANY)
    return enough and filled and (stride, kw) == (1, 3) and x.dtype == jnp.float32
