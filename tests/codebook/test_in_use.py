"""Codebooks of a number of centers that only the running program knows, against exact k-means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import optimum, sse

from fedcode_jax import codebook
from fedcode_jax.errors import ConfigError, DataError

fit = jax.jit(codebook.fit_in_use, static_argnums=1)


@pytest.mark.parametrize("used", [1, 2, 3, 5, 6])
def test_of_few_values_it_is_the_best_there_is(used):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        values = np.float32(rng.normal(size=24) * 10.0 ** rng.integers(-6, 6) + rng.normal())
        centers = np.asarray(fit(values, 6, used))
        assert len(np.unique(centers)) == used
        assert (centers[used:] == centers[used - 1]).all()
        best = optimum(values, used)
        assert sse(values, centers) <= best * (1 + 1e-4) + 1e-9 * np.sum(values**2)


@pytest.mark.parametrize("used", [2, 30])
def test_of_many_values_it_is_as_good_as_a_fit_of_that_many(used):
    values = np.random.default_rng(1).laplace(size=5000).astype(np.float32)
    assert sse(values, fit(values, 30, used)) <= 1.01 * optimum(values, used)


def test_side_by_side_it_is_what_it_is_alone():
    rows = jnp.float32(np.random.default_rng(2).normal(size=(3, 24)))
    used = jnp.array([1, 4, 6])
    together = jax.jit(jax.vmap(lambda v, k: codebook.fit_in_use(v, 6, k)))(rows, used)
    for row, k, centers in zip(rows, used, together, strict=True):
        np.testing.assert_allclose(fit(row, 6, k), centers, rtol=1e-5)


def test_numbers_of_centers_and_values_at_the_edges():
    values = jnp.array([3.0, 1.0, 3.0, 2.0])
    assert fit(values, 8, 8).tolist()[:3] == [1.0, 2.0, 3.0]
    assert fit(values, 8, 8).shape == (4,)
    np.testing.assert_array_equal(fit(values, 2, 9), fit(values, 2, 2))
    np.testing.assert_array_equal(fit(values, 2, 0), [2.25, 2.25])
    assert fit(jnp.zeros(5), 3, 2).tolist() == [0, 0, 0]
    assert np.isnan(fit(jnp.array([1.0, np.nan]), 2, 1)).all()
    with pytest.raises(DataError, match="values must be"):
        codebook.fit_in_use(jnp.zeros((2, 2)), 2, jnp.int32(1))
    with pytest.raises(ConfigError, match=r"^algorithm\.num_clusters"):
        codebook.fit_in_use(values, 0, jnp.int32(1))
