"""Depthwise convolution: a kernel of its own for every channel.

There is no product over channels, so it is bound by memory, not by arithmetic. On CPU and GPU it
is a sum of shifted images times kernel values, which XLA fuses into one pass, also with a kernel
for each client under ``vmap``. On CPU XLA's own grouped convolution is ten times slower and more,
and its kernel gradient, in a loop, hundreds of times (``benchmarks/convolutions.py``). TPUs take
XLA's own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.models.conv import LOWERINGS, pads_of
from fedcode_jax.models.phases import phases
from fedcode_jax.models.winograd import Pads
from fedcode_jax.targets import CPU, TPU, by_target


def depthwise(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: str = "SAME",
    lowering: str = "native",
    target: str | None = None,
) -> Array:
    """Convolves each channel alone: y[b,i,j,c] = sum_{u,v} x[b, i s + u, j s + v, c] k[u,v,0,c].

    Only first-order reverse-mode derivatives are defined.

    Args:
      x: f32[B, H, W, C], images.
      kernel: f32[kh, kw, 1, C].
      stride: step s between windows, in both directions.
      padding: ``SAME``, ``SAME_LOWER`` or ``VALID``, as in :func:`fedcode_jax.models.conv`.
      lowering: ``native`` or ``patches``, which are the same here: no matrix product is to be
        had from either.
      target: the kind of machine that it is for, as of ``by_target``.

    Returns:
      f32[B, H', W', C].

    Raises:
      ConfigError: an unknown padding, lowering or target, a stride below 1, channels of ``x`` and
        ``kernel`` that differ, or a window larger than an unpadded image.

    Example:
      >>> x = jnp.arange(18.0).reshape(1, 3, 3, 2)
      >>> box = jnp.ones((3, 3, 1, 2)).at[..., 1].set(-1.0)
      >>> depthwise(x, box, padding="VALID")[0, 0, 0]
      Array([ 72., -81.], dtype=float32)
    """
    check_name("lowering", lowering, LOWERINGS)
    if x.ndim != 4 or kernel.ndim != 4 or kernel.shape[2] != 1 or x.shape[3] != kernel.shape[3]:
        raise ConfigError(
            f"depthwise: needs images [B, H, W, C] and a kernel [kh, kw, 1, C], "
            f"got {x.shape} and {kernel.shape}"
        )
    return _depthwise(x, kernel, stride, pads_of(x, kernel, stride, padding), target)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise(x: Array, kernel: Array, stride: int, pads: Pads, target: str | None) -> Array:
    form = functools.partial(_forward, stride=stride, pads=pads)
    return by_target(form, target, alike=False)(x, kernel)


def _fwd(
    x: Array, kernel: Array, stride: int, pads: Pads, target: str | None
) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise(x, kernel, stride, pads, target), (x, kernel)


def _bwd(
    stride: int, pads: Pads, target: str | None, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    return by_target(functools.partial(_gradients, stride=stride, pads=pads), target)(*saved, g)


_depthwise.defvjp(_fwd, _bwd)


def _forward(x: Array, kernel: Array, *, stride: int, pads: Pads, target: str) -> Array:
    """In the form for a machine."""
    return (_grouped if target == TPU else _shifted)(x, kernel, stride=stride, pads=pads)


def _gradients(
    x: Array, kernel: Array, g: Array, *, stride: int, pads: Pads, target: str
) -> tuple[Array, Array]:
    """Of the images and the kernel, in the forms for a machine."""
    shifted = functools.partial(_shifted, stride=stride, pads=pads)
    if target == CPU and stride > 1:
        dx = _phases(g, kernel, x.shape[1:3], stride, pads)
    else:
        (dx,) = jax.linear_transpose(lambda x: shifted(x, kernel), x)(g)
    if target == CPU:
        return dx, _by_image(x, g, window=kernel.shape[:2], stride=stride, pads=pads)
    (dk,) = jax.linear_transpose(lambda kernel: shifted(x, kernel), kernel)(g)
    return dx, dk


def _grouped(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """XLA's own form."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3],
    )


def _shifted(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """The sum over the window of whole images, in float32 whatever the type of the images."""
    kh, kw = kernel.shape[:2]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0))).astype(jnp.float32)
    kernel = kernel.astype(jnp.float32)
    height = padded.shape[1] - kh + 1
    width = padded.shape[2] - kw + 1
    terms = [
        padded[:, u : u + height : stride, v : v + width : stride] * kernel[u, v]
        for u in range(kh)
        for v in range(kw)
    ]
    return functools.reduce(jnp.add, terms).astype(x.dtype)


def _phases(g: Array, kernel: Array, image: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """The input gradient of a strided layer, each phase a sum of whole output gradients."""
    height, width = phases(image, g.shape[1:3], kernel.shape[:2], stride, pads)
    around = [(0, 0, 0), (*height.around, 0), (*width.around, 0), (0, 0, 0)]
    padded = lax.pad(g.astype(jnp.float32), jnp.float32(0), around)
    kernel = kernel.astype(jnp.float32)

    def phase(rows: np.ndarray, columns: np.ndarray) -> Array:
        terms = [
            padded[:, i : i + height.size, j : j + width.size] * kernel[u, v]
            for i, u in enumerate(rows)
            for j, v in enumerate(columns)
            if min(u, v) >= 0
        ]
        nothing = jnp.zeros((len(g), height.size, width.size, g.shape[3]), jnp.float32)
        return functools.reduce(jnp.add, terms) if terms else nothing

    dx = jnp.stack(
        [jnp.stack([phase(r, c) for c in width.row.T], axis=3) for r in height.row.T], axis=2
    )
    dx = dx.reshape(len(g), height.size * stride, width.size * stride, g.shape[3])
    return dx[:, : image[0], : image[1]].astype(g.dtype)


def _by_image(x: Array, g: Array, *, window: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """The kernel gradient dk[u,v,c] = sum_{b,i,j} x[b, i s + u, j s + v, c] g[b,i,j,c] on CPU.

    XLA:CPU sums over all but the last axis channel by channel, one addition after another. A sum
    of whole images uses its vector unit, so only the last step, within one image, is left to it.
    """
    kh, kw = window
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = ((size - 1) * stride + 1 for size in g.shape[1:3])

    def add_image(index: Array, sums: list[list[Array]]) -> list[list[Array]]:
        image, of_image = (
            lax.dynamic_index_in_dim(a, index, keepdims=False).astype(jnp.float32) for a in (x, g)
        )
        return [
            [
                total + image[u : u + height : stride, v : v + width : stride] * of_image
                for v, total in enumerate(row)
            ]
            for u, row in enumerate(sums)
        ]

    zeros = [[jnp.zeros(g.shape[1:], jnp.float32)] * kw] * kh
    sums = lax.fori_loop(0, g.shape[0], add_image, zeros)
    dk = jnp.stack([jnp.stack([total.sum((0, 1)) for total in row]) for row in sums])
    return dk[:, :, None].astype(x.dtype)
