"""Convolutions of one pixel against their definition, and where they are products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.models import conv
from fedcode_jax.models.pointwise import forward, gradients, suits

NONE = ((0, 0), (0, 0))


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 5, 7, 2, 3), (1, 1, 1, 4, 1), (32, 3, 4, 24, 16)], ids=str)
def test_values_and_gradients_equal_the_definition(shape):
    *image, features = shape
    x, kernel, g = drawn(*image), drawn(1, 1, image[-1], features), drawn(*image[:3], features)
    exact = [a.astype(np.float64) for a in (x, kernel[0, 0], g)]
    dx, dk = gradients(x, kernel, g)
    pairs = [
        (forward(x, kernel), "bhwi,io->bhwo", exact[:2]),
        (dx, "bhwo,io->bhwi", [exact[2], exact[1]]),
        (dk[0, 0], "bhwi,bhwo->io", [exact[0], exact[2]]),
    ]
    for found, definition, arrays in pairs:
        wanted = np.einsum(definition, *arrays)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_stride_a_window_or_zeros_around_are_no_product():
    one, wide = np.ones((1, 1, 2, 3)), np.ones((1, 3, 2, 3))
    assert suits(one, 1, NONE)
    assert not any([suits(one, 2, NONE), suits(wide, 1, NONE), suits(one, 1, ((0, 0), (0, 1)))])


@pytest.mark.parametrize(("platform", "products"), [("cpu", 3), ("cuda", 0), ("tpu", 0)])
def test_in_a_loop_on_a_cpu_all_three_are_matrix_products_without_a_loop_of_their_own(
    platform, products
):
    def gradients(x, k):
        return jax.value_and_grad(lambda x, k: (conv(x, k) ** 2).sum(), (0, 1))(x, k)

    traced = jax.jit(gradients).trace(jnp.ones((16, 4, 4, 8)), jnp.ones((1, 1, 8, 16)))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.dot_general") == products
    assert text.count("stablehlo.convolution") == 3 - products
    assert "stablehlo.while" not in text
