"""Traced functions in NumPy against JAX itself, and against textbook formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.shadow import traced

X = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32)


def conv(x, **settings):
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2, 4, 6)), jnp.float32)
    kernel = kernel[:, :, : 4 // settings.get("feature_group_count", 1)]
    return jax.lax.conv_general_dilated(
        x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest", **settings
    )


def pool(x):
    window = (1, 3, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, (1, 2, 1, 1), "SAME")


def scanned(x):
    return jax.lax.scan(lambda c, row: (c + row * 0.5, jnp.tanh(c)), x[0], x[1:], reverse=True)


def looped(x):
    return jax.lax.while_loop(lambda c: jnp.sum(c) < 100, lambda c: c * 1.5 + 1, jnp.abs(x))


def dropped(x):
    keep = jax.random.bernoulli(jax.random.key(3), 0.5, x.shape)
    return jnp.where(keep, x / 0.5, 0) + jax.random.uniform(jax.random.key(4), x.shape)


def picked(x):
    rows = x.reshape(-1, 4)
    one = jnp.take_along_axis(rows, jnp.arange(len(rows))[:, None] % 4, axis=1)
    return one.sum() + rows[jnp.array([3, 1, 1])].sum() + rows.at[1:3, 0].add(2.0).sum()


FUNCTIONS = {
    "strided": lambda x: conv(x, window_strides=(2, 1), padding="SAME"),
    "cut": lambda x: conv(x, window_strides=(1, 1), padding=((-1, 2), (0, -1))),
    "dilated": lambda x: conv(
        x, window_strides=(1, 2), padding=((1, 2), (0, 1)), lhs_dilation=(2, 1), rhs_dilation=(1, 2)
    ),
    "grouped": lambda x: conv(x, window_strides=(1, 1), padding="VALID", feature_group_count=2),
    "pooled": pool,
    "scanned": scanned,
    "looped": looped,
    "dropped": dropped,
    "picked": picked,
    "softmax": lambda x: jax.nn.log_softmax(x),
    "normed": lambda x: (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5),
    "chosen": lambda x: jax.lax.cond(x.sum() > 1e9, lambda: x, lambda: jnp.cumsum(x, 1)),
    "erf": lambda x: jax.nn.gelu(x, approximate=False) + x**3 + jnp.clip(x, -0.5, 0.5),
    "products": lambda x: jnp.einsum("nhwc,nhvc->nhwv", x, x, precision="highest"),
}
DIFFERENTIABLE = set(FUNCTIONS) - {"looped"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_what_jax_gives_and_so_does_its_gradient(name):
    function = FUNCTIONS[name]
    expected = jax.jit(function)(X)
    for precision in (np.float64, np.float32):
        found = traced(function, X)(precision, X)
        for own, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert own.dtype == precision
            np.testing.assert_allclose(own, other, rtol=2e-5, atol=2e-5)
    if name in DIFFERENTIABLE:

        def total(x):
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(function(x)))

        found = traced(jax.grad(total), X)(np.float64, X)
        np.testing.assert_allclose(found, jax.jit(jax.grad(total))(X), rtol=1e-4, atol=1e-4)


def test_float64_has_digits_that_float32_has_not():
    function = traced(lambda x: jnp.sum(x) - x[0], np.zeros(2, np.float32))
    x = np.array([1e9, 0.25])
    assert float(function(np.float64, x)) == 0.25
    assert float(function(np.float32, x)) == 0.0


def test_narrower_results_are_rounded_in_float32_alone():
    function = traced(lambda x: x.astype(jnp.bfloat16) + 0, np.zeros(1, np.float32))
    assert float(function(np.float32, np.array([1.001]))[0]) == 1.0
    assert float(function(np.float64, np.array([1.001]))[0]) == 1.001


def test_an_operation_that_is_not_known_is_refused_by_name():
    with pytest.raises(ConfigError, match="'lgamma'"):
        traced(lambda x: jax.lax.cond(x[0] > 0, jax.lax.lgamma, lambda x: x, x), np.ones(1))
