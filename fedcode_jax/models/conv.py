"""Convolution in two lowerings that give the same values and differ only in speed.

A simulator runs the same layer with other weights for every client, inside a loop or under
``vmap``. Neither is what XLA's convolutions are tuned for, so the model asks for a convolution
here, and the execution plan says how it is to be run.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax

from fedcode_jax.errors import ConfigError, check_name

LOWERINGS = ("native", "patches")

_NHWC = ("NHWC", "HWIO", "NHWC")

Pads = tuple[tuple[int, int], tuple[int, int]]


def conv(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: str = "SAME",
    lowering: str = "native",
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
      padding: ``SAME`` (zeros around, output ceil(H/s)) or ``VALID`` (no padding).
      lowering: ``native`` or ``patches``.

    Returns:
      f32[B, H', W', O].

    Raises:
      ConfigError: an unknown padding or lowering, a stride below 1, channels of ``x`` and
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
    check_name("padding", padding, ("SAME", "VALID"))
    check_name("lowering", lowering, LOWERINGS)
    if stride < 1:
        raise ConfigError(f"stride: must be at least 1, got {stride}")
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ConfigError(
            f"conv: needs images [B, H, W, I] and a kernel [kh, kw, I, O], "
            f"got {x.shape} and {kernel.shape}"
        )
    if padding == "SAME":
        pads = (
            _same(x.shape[1], kernel.shape[0], stride),
            _same(x.shape[2], kernel.shape[1], stride),
        )
    else:
        pads = (0, 0), (0, 0)
        if x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]:
            raise ConfigError(f"conv: a VALID {kernel.shape[:2]} window is larger than {x.shape}")
    if lowering == "native":
        return _native(x, kernel, stride, pads)
    return _patches(x, kernel, stride, pads)


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after so that ceil(size / stride) windows fit; the odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


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


# XLA:CPU rewrites convolutions into the form its fast routine accepts only at the top level of a
# program. In a loop body the weight gradient that JAX derives keeps its odd layout and runs
# some thirty times slower (jax-ml/jax#12868). So the gradients are written in the fast form here.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _native(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_NHWC)


def _native_fwd(
    x: Array, kernel: Array, stride: int, pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _native(x, kernel, stride, pads), (x, kernel)


def _native_bwd(
    stride: int, pads: Pads, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    dx = _input_gradient(g, kernel, x.shape[1:3], stride, pads)
    return dx, _kernel_gradient(x, g, kernel.shape[:2], stride, pads)


_native.defvjp(_native_fwd, _native_bwd)


def _input_gradient(
    g: Array, kernel: Array, image: tuple[int, ...], stride: int, pads: Pads
) -> Array:
    """dx: the output gradient, spread by the stride, convolved with the turned kernel."""
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    around = []
    for size, steps, window, (before, _) in zip(
        image, g.shape[1:3], kernel.shape[:2], pads, strict=True
    ):
        spread = (steps - 1) * stride + 1
        around.append((window - 1 - before, size - spread + before))
    return lax.conv_general_dilated(
        g, turned, (1, 1), around, lhs_dilation=(stride, stride), dimension_numbers=_NHWC
    )


def _kernel_gradient(x: Array, g: Array, window: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """dk: the images convolved with the output gradient, the batch in the role of the channels."""

    def canonical(x: Array, g: Array) -> Array:
        around = []
        for axis in (1, 2):
            spread = (g.shape[axis] - 1) * stride + 1
            before = pads[axis - 1][0]
            # pixels that no window reached are cut off: a negative padding is not recognised
            used = min(x.shape[axis], spread + window[axis - 1] - 1 - before)
            x = lax.slice_in_dim(x, 0, used, axis=axis)
            around.append((before, window[axis - 1] - 1 + spread - before - used))
        dk = lax.conv_general_dilated(
            x.transpose(3, 1, 2, 0),
            g.transpose(1, 2, 0, 3),
            (1, 1),
            around,
            rhs_dilation=(stride, stride),
            dimension_numbers=_NHWC,
        )
        return dk.transpose(1, 2, 0, 3)

    def transposed(x: Array, g: Array) -> Array:
        clients, channels, features = x.shape[0], x.shape[4], g.shape[4]

        def grouped(kernel: Array) -> Array:
            return lax.conv_general_dilated(
                jnp.moveaxis(x, 0, 3).reshape(*x.shape[1:4], clients * channels),
                kernel,
                (stride, stride),
                pads,
                dimension_numbers=_NHWC,
                feature_group_count=clients,
            )

        like = jax.ShapeDtypeStruct((*window, channels, clients * features), x.dtype)
        (dk,) = jax.linear_transpose(grouped, like)(
            jnp.moveaxis(g, 0, 3).reshape(*g.shape[1:4], clients * features)
        )
        return jnp.moveaxis(dk.reshape(*window, channels, clients, features), 3, 0)

    gradient = jax.custom_batching.custom_vmap(canonical)

    @gradient.def_vmap
    def gradients(size: int, batched: list[bool], x: Array, g: Array) -> tuple[Array, bool]:
        x, g = (
            a if is_batched else jnp.broadcast_to(a, (size, *a.shape))
            for a, is_batched in zip((x, g), batched, strict=True)
        )
        # GPU libraries have a routine for the transpose of a grouped convolution, and none for
        # the canonical form with groups. On CPU that transpose is the slow loop once more.
        return lax.platform_dependent(x, g, cpu=jax.vmap(canonical), default=transposed), True

    return gradient(x, g)
