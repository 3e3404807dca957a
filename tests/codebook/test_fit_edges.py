"""Defined behaviour of fit at its limits, and under JAX's transformations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import codebook
from fedcode_jax.errors import ConfigError, DataError

SMALL_AND_LARGE = pytest.mark.parametrize("n", [900, 5_000, 17_000])


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e20, 1e-30])
@SMALL_AND_LARGE
def test_constant_values(n, value):
    for K in [1, 16]:
        centers = np.asarray(codebook.fit(jnp.full(n, value), K))
        assert centers.tolist() == [np.float32(value)] * K


@pytest.mark.parametrize("distinct", [2, 9, 16])
@SMALL_AND_LARGE
def test_few_distinct_values_are_kept_exactly(n, distinct):
    rng = np.random.default_rng(distinct)
    # Neighbouring floats among values of very different magnitude.
    pool = rng.normal(size=distinct).astype(np.float32) * 10.0 ** rng.integers(-6, 6, distinct)
    pool = pool.astype(np.float32)
    pool[1] = np.nextafter(pool[0], np.float32(np.inf))
    values = rng.choice(pool, n)
    centers = np.asarray(codebook.fit(values, 16))
    assert np.all(np.diff(centers) >= 0)
    assert set(centers.tolist()) == set(values.tolist())
    assert np.asarray(codebook.snap(centers, values)).tolist() == values.tolist()
    first = [centers.tolist().index(v) for v in values.tolist()]
    assert np.asarray(codebook.encode(centers, values)).tolist() == first


def test_as_many_distinct_values_as_centers():
    values = np.random.default_rng(0).normal(size=256).astype(np.float32)
    many = np.tile(values, 40)
    assert np.asarray(codebook.fit(many, 256)).tolist() == sorted(values.tolist())


def test_fewer_values_than_centers():
    assert np.asarray(codebook.fit(jnp.array([3.0, 1.0]), 4)).tolist() == [1.0, 3.0, 3.0, 3.0]
    assert np.asarray(codebook.fit(jnp.array([3.0]), 1)).tolist() == [3.0]


@SMALL_AND_LARGE
def test_one_center_is_the_mean(n):
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=n) + 5, rng.random(n)
    np.testing.assert_allclose(codebook.fit(values, 1), [values.mean()], rtol=1e-6)
    mean = (values * weights).sum() / weights.sum()
    np.testing.assert_allclose(codebook.fit(values, 1, weights=weights), [mean], rtol=1e-6)


@SMALL_AND_LARGE
def test_values_of_no_weight_are_ignored(n):
    rng = np.random.default_rng(0)
    values = rng.normal(size=n).astype(np.float32)
    strange = np.concatenate([values[:-50], np.full(50, 1e9, np.float32)])
    weights = np.concatenate([np.ones(n - 50), np.zeros(50)])
    centers = codebook.fit(strange, 16, weights=weights)
    np.testing.assert_allclose(centers, codebook.fit(values, 16, weights=weights), atol=1e-6)
    assert np.all(np.isfinite(codebook.fit(values, 16, weights=np.zeros(n))))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@SMALL_AND_LARGE
def test_values_that_are_not_finite_do_not_hang(n, bad):
    values = np.random.default_rng(0).normal(size=n)
    for values_ in [np.where(np.arange(n) == 3, bad, values), np.full(n, bad)]:
        assert codebook.fit(values_, 16).shape == (16,)


@pytest.mark.parametrize("K", [0, -1, 65537, 2.5, True, None])
def test_impossible_numbers_of_centers(K):
    with pytest.raises(ConfigError, match=r"algorithm\.num_clusters.*1 to 65536"):
        codebook.fit(jnp.ones(3), K)


def test_wrong_shapes():
    with pytest.raises(DataError, match="n >= 1"):
        codebook.fit(jnp.zeros(0), 2)
    with pytest.raises(DataError, match="values"):
        codebook.fit(jnp.zeros((2, 2)), 2)
    with pytest.raises(DataError, match="weights"):
        codebook.fit(jnp.zeros(3), 2, weights=jnp.ones(2))
    with pytest.raises(DataError, match="init"):
        codebook.fit(jnp.zeros(3), 2, init=jnp.ones(3))


def test_the_most_centers():
    values = np.arange(70_000, dtype=np.float32)
    centers = np.asarray(codebook.fit(values, 65536))
    assert centers.shape == (65536,)
    assert np.all(np.diff(centers) > 0)
    codes = codebook.encode(centers, values)
    assert codes.dtype == jnp.uint16
    assert np.abs(np.asarray(codebook.decode(centers, codes)) - values).max() <= 1


@SMALL_AND_LARGE
def test_vmap_map_jit_and_scan_agree_with_a_loop(n):
    clients = np.random.default_rng(0).laplace(size=(3, n)).astype(np.float32)
    clients[2] = np.round(3 * clients[2])  # few distinct values beside ordinary ones
    weights = np.random.default_rng(1).random((3, n)).astype(np.float32)

    def fit(values, w):
        return codebook.fit(values, 16, weights=w)

    loop = np.stack([fit(v, w) for v, w in zip(clients, weights, strict=True)])
    mapped = jax.jit(lambda v, w: jax.lax.map(lambda a: fit(*a), (v, w)))(clients, weights)
    _, scanned = jax.lax.scan(lambda c, a: (c, fit(*a)), 0, (clients, weights))
    for other in [jax.vmap(fit)(clients, weights), mapped, scanned]:
        np.testing.assert_allclose(other, loop, atol=2e-3)


def test_one_compilation_for_many_calls():
    traced = jax.jit(chex.assert_max_traces(lambda v: codebook.fit(v, 8), n=1))
    for seed in range(3):
        traced(np.random.default_rng(seed).normal(size=500).astype(np.float32))
    chex.clear_trace_counter()
