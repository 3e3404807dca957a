"""Depthwise convolution and both gradients against their definitions in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.models.depthwise import depthwise
from fedcode_jax.targets import TARGETS


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


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("shape", "window", "stride", "padding", "pads"), CASES, ids=str)
def test_every_form_alone_and_side_by_side(target, shape, window, stride, padding, pads):
    x, kernel = drawn((2, *shape), 0), drawn((2, *window, 1, shape[3]), 1)
    wanted = [numpy_depthwise(x[c], kernel[c], stride, pads) for c in range(2)]
    g = drawn((2, *wanted[0].shape), 2)

    def client(x, kernel, g):
        f = functools.partial(depthwise, stride=stride, padding=padding, target=target)
        y, pull = jax.vjp(f, x, kernel)
        return y, *pull(g)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def everything(x, kernel, g):
        return client(x[0], kernel[0], g[0]), jax.vmap(client)(x, kernel, g)

    alone, together = everything(x, kernel, g)
    for c, y in enumerate(wanted):
        expected = y, *numpy_gradients(x[c], kernel[c], g[c], stride, pads)
        for found in [alone] * (c == 0) + [[leaf[c] for leaf in together]]:
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.shape == theirs.shape
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_only_a_tpu_has_a_grouped_convolution_and_only_a_cpu_a_loop_over_images(stride):
    x, kernel = drawn((2, 8, 8, 4), 0), drawn((3, 3, 1, 4), 1)

    def text(platform):
        def gradients(x, k):
            return jax.value_and_grad(lambda x, k: depthwise(x, k, stride=stride).sum(), (0, 1))(
                x, k
            )

        traced = jax.jit(gradients).trace(x, kernel)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    texts = {platform: text(platform) for platform in ("cpu", "cuda", "tpu")}
    assert [name for name in texts if "feature_group_count = 4" in texts[name]] == ["tpu"]
    assert [name for name in texts if "stablehlo.while" in texts[name]] == ["cpu"]


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
