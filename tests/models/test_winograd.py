"""Winograd's algorithm against the definition of a convolution."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fedcode_jax.models import conv
from fedcode_jax.models.winograd import gradients, suits, winograd

QUICK = {"xla_backend_optimization_level": 0}


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def numpy_conv(x, kernel, pads):
    """The definition, in float64, pixel by pixel."""
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    kh, kw = kernel.shape[:2]
    y = np.empty((len(x), x.shape[1] - kh + 1, x.shape[2] - kw + 1, kernel.shape[3]))
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            y[:, i, j] = np.einsum("buvc,uvco->bo", x[:, i : i + kh, j : j + kw], kernel)
    return y


def numpy_gradients(x, kernel, g, pads):
    """Those of ``numpy_conv``: each window hands back what it took."""
    padded = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    kh, kw = kernel.shape[:2]
    dx, dk = np.zeros_like(padded), np.zeros(kernel.shape)
    for i in range(g.shape[1]):
        for j in range(g.shape[2]):
            window = (slice(None), slice(i, i + kh), slice(j, j + kw))
            dx[window] += np.einsum("bo,uvco->buvc", g[:, i, j], kernel)
            dk += np.einsum("buvc,bo->uvco", padded[window], g[:, i, j])
    (top, _), (left, _) = pads
    return dx[:, top : top + x.shape[1], left : left + x.shape[2]], dk


PADS = {"valid": (0, 0), "same": (1, 1), "before": (2, 0), "after": (0, 1)}


@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("height", [1, 3])
def test_widths_of_every_residue_of_the_tile(height, pads):
    across = PADS[pads]
    pads = (across if height == 3 else (0, 0)), across
    images = [drawn(2, 4, width, 3) for width in (3, 4, 5, 6, 9)]
    kernel = drawn(height, 3, 3, 5)
    results = [numpy_conv(x, kernel, pads) for x in images]
    given = [drawn(*y.shape) for y in results]

    @functools.partial(jax.jit, compiler_options=QUICK)
    def every(images, kernel, given):
        def one(x, g):
            return winograd(x, kernel, pads), *gradients(x, kernel, g, pads)

        return [one(x, g) for x, g in zip(images, given, strict=True)]

    for x, y, g, found in zip(images, results, given, every(images, kernel, given), strict=True):
        for expected, of_ours in zip((y, *numpy_gradients(x, kernel, g, pads)), found, strict=True):
            assert of_ours.shape == expected.shape
            np.testing.assert_allclose(of_ours, expected, rtol=1e-4, atol=1e-4)


def test_it_is_about_as_accurate_as_the_direct_convolution():
    x, kernel = drawn(4, 8, 16, 32), drawn(3, 3, 32, 32)
    expected = numpy_conv(x, kernel, ((1, 1), (1, 1)))

    @jax.jit
    def both(x, k):
        direct = lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return winograd(x, k, ((1, 1), (1, 1))), direct

    errors = [np.sqrt(np.mean((np.asarray(y) - expected) ** 2)) for y in both(x, kernel)]
    assert errors[0] < 10 * errors[1]
    assert errors[0] < 3e-6 * expected.std()


def test_the_products_are_half_of_those_of_a_direct_convolution():
    x, kernel, pads = jnp.zeros((2, 8, 16, 32)), jnp.zeros((3, 3, 32, 48)), ((1, 1), (1, 1))

    def products(function, *arrays):
        text = jax.jit(lambda *arrays: function(*arrays, pads)).lower(*arrays).as_text()
        assert "stablehlo.convolution" not in text
        pattern = r"dot_general.*: \(tensor<(\S+)xf32>, tensor<(\S+)xf32>\)"
        rows = re.findall(pattern, text)
        return sum(np.prod([*map(int, a.split("x"))]) * int(b.split("x")[1]) for a, b in rows)

    direct = 2 * 8 * 16 * 9 * 32 * 48
    assert products(winograd, x, kernel) == direct / 2
    assert products(gradients, x, kernel, jnp.zeros((2, 8, 16, 48))) == direct


SUITED = {"batch": 8, "width": 8, "kh": 3, "kw": 3, "channels": 32, "features": 32}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"batch": 16, "features": 64}, True),
        ({"kh": 1}, True),
        ({"kh": 5}, True),
        ({"width": 30}, True),  # two of 32 pixels are waste
        ({"width": 28, "pad": 0}, True),  # 26, of 28
        ({"batch": 17}, False),
        ({"batch": 128, "channels": 64, "features": 64}, True),
        ({"batch": 128, "channels": 64, "features": 63}, False),
        ({"width": 5}, False),  # three of eight
        ({"width": 8, "pad": 0}, False),  # two of eight
        ({"channels": 31}, False),
        ({"features": 16}, False),
        ({"kw": 1}, False),
        ({"kw": 5}, False),
        ({"stride": 2}, False),
        ({"dtype": jnp.bfloat16}, False),
    ],
    ids=str,
)
def test_which_layers_it_suits(change, expected):
    c = {**SUITED, "stride": 1, "pad": 1, "dtype": jnp.float32, **change}
    x = jax.ShapeDtypeStruct((c["batch"], 8, c["width"], c["channels"]), c["dtype"])
    kernel = jax.ShapeDtypeStruct((c["kh"], c["kw"], c["channels"], c["features"]), c["dtype"])
    pads = ((c["pad"],) * 2,) * 2
    assert suits(x, kernel, c["stride"], pads) is expected


def test_a_suited_layer_takes_this_path_and_its_gradients_are_those_of_autodiff():
    x, kernel = drawn(8, 4, 8, 32), drawn(3, 3, 32, 32)
    g = drawn(8, 4, 8, 32)

    def both(f):
        return lambda x, k: (lambda y, pull: (y, *pull(g)))(*jax.vjp(f, x, k))

    ours = jax.jit(both(conv), compiler_options=QUICK)
    theirs = both(
        lambda x, k: lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    text = ours.lower(x, kernel).as_text()
    # six products each forward, for the input gradient and for the kernel gradient
    assert text.count("stablehlo.dot_general") == 18
    assert "stablehlo.convolution" not in text
    for a, b in zip(ours(x, kernel), jax.jit(theirs)(x, kernel), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())
