"""Depthwise convolution and both gradients against their definitions in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.models.depthwise import _grouped, depthwise


def numpy_depthwise(x, kernel, stride, pads):
    """The definition, pixel by pixel, in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    kh, kw = kernel.shape[:2]
    height, width = ((x.shape[1 + a] - kernel.shape[a]) // stride + 1 for a in (0, 1))
    y = np.empty((x.shape[0], height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = (window * kernel[:, :, 0]).sum((1, 2))
    return y


def numpy_gradients(x, kernel, g, stride, pads):
    """Every output pixel gives its share to its window and to the kernel."""
    (top, bottom), (left, right) = pads
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    kh, kw = kernel.shape[:2]
    dx, dk = np.zeros(x.shape), np.zeros(kernel.shape)
    for i in range(g.shape[1]):
        for j in range(g.shape[2]):
            at = np.s_[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            dx[at] += kernel[:, :, 0] * g[:, i, j][:, None, None]
            dk[:, :, 0] += (x[at] * g[:, i, j][:, None, None]).sum(0)
    return dx[:, top : dx.shape[1] - bottom, left : dx.shape[2] - right], dk


def drawn(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# even and odd images, a single pixel, windows of other sizes, every padding
CASES = [
    ((3, 8, 8, 4), (3, 3), 1, "SAME", ((1, 1), (1, 1))),
    ((3, 8, 8, 4), (3, 3), 2, "SAME", ((0, 1), (0, 1))),
    ((3, 8, 6, 4), (3, 3), 2, "SAME_LOWER", ((1, 0), (1, 0))),
    ((2, 13, 7, 3), (3, 3), 2, "SAME", ((1, 1), (1, 1))),
    ((2, 19, 5, 1), (3, 3), 1, "VALID", ((0, 0), (0, 0))),
    ((1, 6, 9, 2), (5, 2), 3, "VALID", ((0, 0), (0, 0))),
    ((1, 1, 1, 5), (3, 3), 2, "SAME", ((1, 1), (1, 1))),
]


@pytest.mark.parametrize(("shape", "window", "stride", "padding", "pads"), CASES, ids=str)
def test_values_and_gradients_equal_the_definition(shape, window, stride, padding, pads):
    x, kernel = drawn(shape, 0), drawn((*window, 1, shape[3]), 1)
    want = numpy_depthwise(x, kernel, stride, pads)
    g = drawn(want.shape, 2)

    @functools.partial(jax.jit, static_argnums=3)
    def run(x, kernel, g, lowering):
        f = functools.partial(depthwise, stride=stride, padding=padding, lowering=lowering)
        y, vjp = jax.vjp(f, x, kernel)
        return y, vjp(g)

    native = run(x, kernel, g, "native")
    gradients = numpy_gradients(x, kernel, g, stride, pads)
    for found, expected in zip(jax.tree.leaves(native), (want, *gradients), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    if shape == CASES[0][0]:
        jax.tree.map(np.testing.assert_array_equal, native, run(x, kernel, g, "patches"))
    grouped = _grouped(x, kernel, stride=stride, pads=pads)  # the form of other platforms
    np.testing.assert_allclose(grouped, want, rtol=0, atol=2e-5)


def test_clients_side_by_side_equal_clients_alone():
    x, kernel, g = drawn((3, 2, 9, 9, 4), 0), drawn((3, 3, 3, 1, 4), 1), drawn((3, 2, 5, 5, 4), 2)

    def gradients(x, kernel, g):
        y, vjp = jax.vjp(functools.partial(depthwise, stride=2), x, kernel)
        return y, *vjp(g)

    together = jax.jit(jax.vmap(gradients))(x, kernel, g)
    alone = jax.jit(gradients)
    for c in range(3):
        for found, expected in zip(together, alone(x[c], kernel[c], g[c]), strict=True):
            np.testing.assert_allclose(found[c], expected, rtol=0, atol=1e-5)


def test_half_precision_sums_in_float32():
    # 1 + eight 1/512 is exact in float32; bfloat16 would lose each of them
    x = jnp.ones((1, 3, 3, 1), jnp.bfloat16)
    kernel = jnp.full((3, 3, 1, 1), 1 / 512, jnp.bfloat16).at[0, 0].set(1)
    y = depthwise(x, kernel, padding="VALID")
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 0, 0, 0]) == 1 + 1 / 64


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((3, 3, 1, 2), {}, r"depthwise: .* got \(1, 4, 4, 3\) and \(3, 3, 1, 2\)"),
        ((3, 3, 3, 3), {}, "depthwise: needs"),
        ((3, 3, 1, 3), {"padding": "FULL"}, "padding"),
        ((3, 3, 1, 3), {"lowering": "im2col"}, "lowering"),
        ((3, 3, 1, 3), {"stride": 0}, "stride: must be at least 1, got 0"),
        ((5, 5, 1, 3), {"padding": "VALID"}, "window is larger"),
    ],
)
def test_what_cannot_be_convolved_is_refused(kernel, options, message):
    with pytest.raises(ConfigError, match=message):
        depthwise(np.zeros((1, 4, 4, 3), np.float32), np.zeros(kernel, np.float32), **options)
