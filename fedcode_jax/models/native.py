"""XLA's convolution, with gradients and shapes that its fast routines accept.

What XLA:CPU does not do by itself (``benchmarks/convolutions.py`` has the figures):

* It rewrites convolutions into the form of its fast routine only at the top level of a program.
  In a loop body the gradients that JAX derives keep their odd layout and run some fifty
  times slower and more (jax-ml/jax#12868). So both gradients are written in the fast form here.
* The fast routine wants 32 output channels. A layer with fewer computes several neighbouring
  pixels of a row at once, as channels of a wider kernel that holds the narrow one several times.
* A window of one pixel, and both its gradients, are matrix products (``pointwise``).
* Three columns of a kernel, and both their gradients, can be had for half the products
  (``winograd``).
* The zeros between the pixels of a strided layer's gradient need not be multiplied.
* The kernel gradient transposes images and output gradients. In blocks of a few images that is
  done in the cache.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from fedcode_jax.models import pointwise
from fedcode_jax.models.phases import phases
from fedcode_jax.models.winograd import Pads, gradients, suits, winograd
from fedcode_jax.targets import CPU, by_target

_NHWC = ("NHWC", "HWIO", "NHWC")
_WIDE = 32
"""Output channels from which XLA:CPU uses its fast routine."""
_BLOCK = range(4, 17)
"""Images that the kernel gradient may take at a time; 8 is the best of them."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def native(x: Array, kernel: Array, stride: int, pads: Pads, target: str | None = None) -> Array:
    """The convolution of ``conv`` by XLA's own operation; only first-order derivatives.

    Args:
      x: f32[B, H, W, I].
      kernel: f32[kh, kw, I, O].
      stride: of the windows.
      pads: zeros before and after, of height and width.
      target: the kind of machine that it is for, as of ``by_target``.

    Returns:
      f32[B, H', W', O].
    """
    return by_target(functools.partial(_forward, stride=stride, pads=pads), target)(x, kernel)


def _fwd(
    x: Array, kernel: Array, stride: int, pads: Pads, target: str | None
) -> tuple[Array, tuple[Array, Array]]:
    return native(x, kernel, stride, pads, target), (x, kernel)


def _bwd(
    stride: int, pads: Pads, target: str | None, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    return by_target(functools.partial(_gradients, stride=stride, pads=pads), target)(*saved, g)


native.defvjp(_fwd, _bwd)


def _forward(x: Array, kernel: Array, *, stride: int, pads: Pads, target: str) -> Array:
    """A convolution, in the form for a machine."""
    if target != CPU:
        return _plain(x, kernel, stride, pads)
    if pointwise.suits(kernel, stride, pads):
        return pointwise.forward(x, kernel)
    if suits(x, kernel, stride, pads):
        return winograd(x, kernel, pads)
    return _widened(x, kernel, stride, pads)


def _gradients(
    x: Array, kernel: Array, g: Array, *, stride: int, pads: Pads, target: str
) -> tuple[Array, Array]:
    """Of the images and the kernel, in the forms for a machine."""
    if target == CPU and pointwise.suits(kernel, stride, pads):
        return pointwise.gradients(x, kernel, g)
    if target == CPU and suits(x, kernel, stride, pads):
        return gradients(x, kernel, g, pads)
    dx = _input_gradient(g, kernel, x.shape[1:3], stride, pads, target)
    return dx, _kernel_gradient(x, g, kernel.shape[:2], stride, pads, target)


def _plain(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_NHWC)


def _widened(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """The same with enough output channels.

    Several output pixels of a row are computed together, as channels of a wider kernel.
    """
    _, kw, channels, features = kernel.shape
    width = (x.shape[2] + sum(pads[1]) - kw) // stride + 1
    columns = _columns(width, channels, features)
    if columns == 1:
        return _plain(x, kernel, stride, pads)
    placed = [
        jnp.pad(kernel, ((0, 0), (i * stride, (columns - 1 - i) * stride), (0, 0), (0, 0)))
        for i in range(columns)
    ]
    # The last group of columns reads as far as the last column does: nothing is read beyond.
    used = (width - 1) * stride + kw - pads[1][0]
    pads = pads[0], (pads[1][0], used - x.shape[2])
    y = lax.conv_general_dilated(
        x,
        jnp.concatenate(placed, axis=3),
        (stride, stride * columns),
        pads,
        dimension_numbers=_NHWC,
    )
    return y.reshape(*y.shape[:2], width, features)


def _columns(width: int, channels: int, features: int) -> int:
    """Neighbouring pixels to compute together, so that there are enough output channels.

    The wider kernel is (kw + columns - 1) / kw times the work, so no more than needed; with few
    input channels the work is small and 64 output channels are better still.
    """
    wanted = 2 * _WIDE if channels <= 4 else _WIDE
    for columns in (1, 2, 4):
        if columns * features >= wanted and width % columns == 0:
            return columns
    return 1


def _input_gradient(
    g: Array, kernel: Array, image: tuple[int, ...], stride: int, pads: Pads, target: str
) -> Array:
    """dx: the output gradient, spread by the stride, convolved with the turned kernel."""
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    around = []
    for size, steps, window, (before, _) in zip(
        image, g.shape[1:3], kernel.shape[:2], pads, strict=True
    ):
        spread = (steps - 1) * stride + 1
        around.append((window - 1 - before, size - spread + before))

    if stride > 1 and target == CPU:
        return _phases(g, turned, image, stride, pads)
    if stride == 1 and min(map(min, around)) >= 0:
        return _forward(g, turned, stride=1, pads=(around[0], around[1]), target=target)
    return lax.conv_general_dilated(
        g, turned, (1, 1), around, lhs_dilation=(stride, stride), dimension_numbers=_NHWC
    )


def _phases(g: Array, turned: Array, image: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """The input gradient of a strided convolution, without the zeros between its pixels.

    Each phase is an ordinary convolution of g, and all of them are the channels of one.
    """
    axes = phases(image, g.shape[1:3], turned.shape[:2], stride, pads)
    # of the turned kernel; the row after its last one is of zeros
    rows = [
        np.where(axis.row >= 0, window - 1 - axis.row, window)
        for axis, window in zip(axes, turned.shape[:2], strict=True)
    ]
    padded = jnp.pad(turned, ((0, 1), (0, 1), (0, 0), (0, 0)))
    kernel = padded[rows[0]][:, :, rows[1]]  # [shifts, phases, shifts, phases, O, I]
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5)
    dx = lax.conv_general_dilated(
        g,
        kernel.reshape(*kernel.shape[:3], -1),
        (1, 1),
        [axis.around for axis in axes],
        dimension_numbers=_NHWC,
    )
    dx = dx.reshape(*dx.shape[:3], stride, stride, -1).transpose(0, 1, 3, 2, 4, 5)
    dx = dx.reshape(dx.shape[0], axes[0].size * stride, axes[1].size * stride, -1)
    return dx[:, : image[0], : image[1]]


def _kernel_gradient(
    x: Array, g: Array, window: tuple[int, ...], stride: int, pads: Pads, target: str
) -> Array:
    """dk: the images convolved with the output gradient, the batch in the role of the channels."""
    canonical = functools.partial(_canonical, window=window, stride=stride, pads=pads)
    columns = _columns(g.shape[2], x.shape[3], g.shape[3])
    blocked = functools.partial(_in_blocks, functools.partial(canonical, columns=columns))
    gradient = jax.custom_batching.custom_vmap(blocked if target == CPU else canonical)

    @gradient.def_vmap
    def gradients(size: int, batched: list[bool], x: Array, g: Array) -> tuple[Array, bool]:
        x, g = (
            a if is_batched else jnp.broadcast_to(a, (size, *a.shape))
            for a, is_batched in zip((x, g), batched, strict=True)
        )
        # GPU libraries have a routine for the transpose of a grouped convolution, and none for
        # the canonical form with groups. On CPU that transpose is the slow loop once more.
        transposed = functools.partial(_transposed, window=window, stride=stride, pads=pads)
        return (jax.vmap(canonical) if target == CPU else transposed)(x, g), True

    return gradient(x, g)


def _canonical(
    x: Array,
    g: Array,
    *,
    window: tuple[int, ...],
    stride: int,
    pads: Pads,
    columns: int = 1,
) -> Array:
    """One convolution that gives dk; ``columns`` output pixels of a row count as channels."""
    features = g.shape[3]
    g = g.reshape(*g.shape[:2], -1, columns * features)
    steps = (stride, stride * columns)
    reach = (window[0], window[1] + (columns - 1) * stride)
    around = []
    for axis in (1, 2):
        spread = (g.shape[axis] - 1) * steps[axis - 1] + 1
        before = pads[axis - 1][0]
        # pixels that no window reached are cut off: a negative padding is not recognised
        used = min(x.shape[axis], spread + reach[axis - 1] - 1 - before)
        x = lax.slice_in_dim(x, 0, used, axis=axis)
        around.append((before, reach[axis - 1] - 1 + spread - before - used))
    dk = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        (1, 1),
        around,
        rhs_dilation=steps,
        dimension_numbers=_NHWC,
    ).transpose(1, 2, 0, 3)
    if columns == 1:
        return dk
    # Pixel i of a group saw the kernel i * stride columns further on.
    dk = dk.reshape(*dk.shape[:3], columns, features)
    pixels = [dk[:, i * stride : i * stride + window[1], :, i] for i in range(columns)]
    return functools.reduce(jnp.add, pixels)


def _in_blocks(gradient: Callable[[Array, Array], Array], x: Array, g: Array) -> Array:
    """The sum of the gradients of blocks of images, for batches that have blocks."""
    sizes = [size for size in _BLOCK if x.shape[0] % size == 0 and size < x.shape[0]]
    if not sizes:
        return gradient(x, g)
    size = min(sizes, key=lambda size: abs(size - 8))

    def block(i: Array | int) -> Array:
        return gradient(*(lax.dynamic_slice_in_dim(a, i * size, size) for a in (x, g)))

    first = jax.eval_shape(block, 0)
    # Slices of x and g as they are: blocks along a new axis would be computed once more.
    return lax.fori_loop(
        0,
        x.shape[0] // size,
        lambda i, total: total + block(i),
        jnp.zeros(first.shape, jnp.float32),
    ).astype(first.dtype)


def _transposed(x: Array, g: Array, *, window: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """The kernel gradients of clients side by side, from the transpose of a grouped convolution."""
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
