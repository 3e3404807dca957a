"""Convolution in two lowerings that give the same values and differ only in speed.

A simulator runs the same layer with other weights for every client, inside a loop or under
``vmap``. Neither is what XLA's convolutions are tuned for, so the model asks for a convolution
here, and the execution plan says how it is to be run.
"""

import jax.numpy as jnp
from jax import Array

from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.models.native import Pads, native
from fedcode_jax.targets import check_target

LOWERINGS = ("native", "patches")
PADDINGS = ("SAME", "SAME_LOWER", "VALID")


def conv(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: str = "SAME",
    lowering: str = "native",
    target: str | None = None,
) -> Array:
    """Convolves images: y[b,i,j,o] = sum_{u,v,c} x[b, i s + u, j s + v, c] kernel[u,v,c,o].

    ``native`` is XLA's convolution with its two gradients written out in the layout that every
    backend recognises. ``patches`` copies the window of each output pixel into a row and multiplies
    by the kernel as a matrix: more memory, but under ``vmap`` over kernels it becomes one batched
    matrix product where ``native`` becomes a grouped convolution. Only first-order reverse-mode
    derivatives are defined for ``native``. Products use ``jax.default_matmul_precision``.

    Args:
      x: f32[B, H, W, I], images.
      kernel: f32[kh, kw, I, O].
      stride: step s between windows, in both directions.
      padding: ``SAME`` (zeros around, output ceil(H/s); an odd one goes after the image, as in
        TensorFlow), ``SAME_LOWER`` (an odd one goes before it: what a window of 3 has with one
        zero on each side, as in PyTorch) or ``VALID`` (no padding).
      lowering: ``native`` or ``patches``.
      target: the kind of machine that ``native`` is for, as of ``by_target``; ``patches`` is the
        same for all.

    Returns:
      f32[B, H', W', O].

    Raises:
      ConfigError: an unknown padding, lowering or target, a stride below 1, channels of ``x`` and
        ``kernel`` that differ, or a window larger than an unpadded image.

    References:
      Patches: Chellapilla, Puri and Simard, High performance convolutional neural networks for
      document processing, 2006.

    Example:
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> box = jnp.ones((3, 3, 1, 1))
      >>> conv(x, box, padding="VALID")[0, :, :, 0]
      Array([[45., 54.],
             [81., 90.]], dtype=float32)
      >>> conv(x, box, stride=2, lowering="patches")[0, :, :, 0]
      Array([[45., 39.],
             [66., 50.]], dtype=float32)
    """
    check_name("lowering", lowering, LOWERINGS)
    check_target(target)
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ConfigError(
            f"conv: needs images [B, H, W, I] and a kernel [kh, kw, I, O], "
            f"got {x.shape} and {kernel.shape}"
        )
    pads = pads_of(x, kernel, stride, padding)
    if lowering == "native":
        return native(x, kernel, stride, pads, target)
    return _patches(x, kernel, stride, pads)


def pads_of(x: Array, kernel: Array, stride: int, padding: str) -> Pads:
    """Zeros before and after, of height and width, that a padding stands for.

    Raises:
      ConfigError: an unknown padding, a stride below 1, or a window larger than an unpadded image.
    """
    check_name("padding", padding, PADDINGS)
    if stride < 1:
        raise ConfigError(f"stride: must be at least 1, got {stride}")
    sizes = tuple(zip(x.shape[1:3], kernel.shape[:2], strict=True))
    if padding == "VALID":
        if any(size < window for size, window in sizes):
            raise ConfigError(f"conv: a VALID {kernel.shape[:2]} window is larger than {x.shape}")
        return (0, 0), (0, 0)
    height, width = (_around(size, window, stride, padding) for size, window in sizes)
    return height, width


def _around(size: int, window: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after so that ceil(size / stride) windows fit."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    before, after = total // 2, total - total // 2
    return (before, after) if padding == "SAME" else (after, before)


def _patches(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    kh, kw, channels, features = kernel.shape
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height = (x.shape[1] - kh) // stride + 1
    width = (x.shape[2] - kw) // stride + 1
    windows = [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(kh)
        for j in range(kw)
    ]
    rows = jnp.concatenate(windows, axis=3)
    return rows @ kernel.reshape(kh * kw * channels, features)
