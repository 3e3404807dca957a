"""Pooling over image windows, in two lowerings with the same values and the same gradient."""

import jax.numpy as jnp
from jax import Array, lax

from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.models.conv import LOWERINGS


def max_pool(
    x: Array, window: int, stride: int | None = None, *, lowering: str = "patches"
) -> Array:
    """Takes the maximum of each window: y[b,i,j,c] = max_{u,v < window} x[b, i s + u, j s + v, c].

    The gradient goes to the first maximum of a window, row by row, in both lowerings: after a
    relu most windows hold several zeros, and sharing the gradient among them is another model.
    ``native`` is XLA's windowed reduction; ``patches`` compares window^2 strided slices, and is
    faster on CPU in a loop as under ``vmap``, so the models use it whatever the plan.

    Args:
      x: f32[B, H, W, C].
      window: height and width of a window; rows and columns that fill no window are dropped.
      stride: step s between windows; None means ``window``.
      lowering: ``native`` or ``patches``.

    Returns:
      f32[B, (H - window) // s + 1, (W - window) // s + 1, C].

    Raises:
      ConfigError: an unknown lowering, a window or stride below 1, or a window larger than the
        image.

    Example:
      >>> x = jnp.arange(25.0).reshape(1, 5, 5, 1)
      >>> max_pool(x, 2)[0, :, :, 0]
      Array([[ 6.,  8.],
             [16., 18.]], dtype=float32)
    """
    check_name("lowering", lowering, LOWERINGS)
    stride = window if stride is None else stride
    if window < 1 or stride < 1:
        raise ConfigError(f"max_pool: window {window} and stride {stride} must be at least 1")
    if x.ndim != 4 or min(x.shape[1:3]) < window:
        raise ConfigError(
            f"max_pool: needs images [B, H, W, C] of at least {window} x {window}, got {x.shape}"
        )
    if lowering == "native":
        sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, "VALID")
    height = (x.shape[1] - window) // stride * stride + 1
    width = (x.shape[2] - window) // stride * stride + 1
    best = x[:, :height:stride, :width:stride]
    for i in range(window):
        for j in range(window):
            other = x[:, i : i + height : stride, j : j + width : stride]
            # strictly greater, so that the first of equals is kept; a NaN is kept as well
            best = jnp.where((other > best) | (other != other), other, best)
    return best


def global_avg_pool(x: Array) -> Array:
    """Averages each channel over the image: y[b,c] = mean_{i,j} x[b,i,j,c].

    Args:
      x: f32[B, H, W, C].

    Returns:
      f32[B, C].

    Example:
      >>> global_avg_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
      Array([[3., 4.]], dtype=float32)
    """
    return x.mean(axis=(1, 2))
