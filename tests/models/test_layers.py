"""Dropout: what it drops, and that a sample's share does not depend on the other samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.models.layers import Dropout


def dropped(x, rate, key=0, drop=True):
    return np.asarray(Dropout(rate).apply({}, x, drop=drop, rngs={"dropout": jax.random.key(key)}))


@pytest.mark.parametrize("rate", [1 / 256, 0.25, 0.5, 0.75])
def test_a_share_is_dropped_and_the_rest_is_scaled(rate):
    x = np.random.default_rng(0).uniform(1, 2, (50, 41, 13)).astype(np.float32)
    y = dropped(x, rate)
    assert y.shape == x.shape
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-6)
    assert abs((~kept).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / x.size)
    # no place of a sample, and no sample, is dropped more often than others
    for axes in ((0, 1), (0, 2), (1, 2)):
        share = (~kept).mean(axes)
        count = x.size / share.size
        assert np.abs(share - rate).max() < 6 * np.sqrt(rate * (1 - rate) / count)


def test_neighbouring_values_are_dropped_independently():
    gone = dropped(np.ones((200, 400), np.float32), 0.5) == 0
    for apart in range(1, 9):
        both = (gone[:, apart:] & gone[:, :-apart]).mean()
        assert abs(both - 0.25) < 0.01
    assert abs((gone[1:] & gone[:-1]).mean() - 0.25) < 0.01


@pytest.mark.parametrize("features", [(16,), (5,), (3, 5, 2)], ids=str)
def test_a_sample_does_not_depend_on_how_many_follow_it(features):
    x = np.ones((8, *features), np.float32)
    np.testing.assert_array_equal(dropped(x, 0.5)[:5], dropped(x[:5], 0.5))


def test_each_key_and_each_sample_drops_others():
    x = np.ones((2, 64), np.float32)
    y = dropped(x, 0.5)
    assert (y[0] != y[1]).any()
    assert (y != dropped(x, 0.5, key=1)).any()


def test_the_gradient_passes_where_the_value_did():
    x = jnp.ones((3, 40))
    gradient = jax.grad(
        lambda x: Dropout(0.25).apply({}, x, drop=True, rngs={"dropout": jax.random.key(0)}).sum()
    )(x)
    np.testing.assert_allclose(gradient, dropped(x, 0.25))


def test_nothing_happens_outside_training():
    x = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, drop=False), x)
    np.testing.assert_array_equal(dropped(x, 0.0), x)


def test_half_precision_stays_half():
    x = jnp.ones((2, 8), jnp.bfloat16)
    y = Dropout(0.5).apply({}, x, drop=True, rngs={"dropout": jax.random.key(0)})
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0, -0.5])
def test_rates_that_a_byte_cannot_decide_are_refused(rate):
    with pytest.raises(ConfigError, match="multiple of 1/256 below 1"):
        dropped(np.ones((2, 4), np.float32), rate)
