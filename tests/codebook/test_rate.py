"""Entropy-constrained codebooks against the exact optimum and against k-means at equal rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import codebook
from fedcode_jax.errors import ConfigError, DataError


def price_of(values, rate_weight, weights=None):
    """lambda: squared error a bit."""
    mean = np.average(values.astype(np.float64), weights=weights)
    return rate_weight * np.average((values - mean) ** 2, weights=weights)


def rate_and_error(values, centers, codes, weights=None):
    """Bits of ideal code length and squared error, in float64, of all values together."""
    w = np.ones(len(values)) if weights is None else weights
    mass = np.bincount(codes, weights=w)
    mass = mass[mass > 0]
    bits = np.sum(mass * np.log2(mass.sum() / mass))
    return bits, np.sum(w * (values.astype(np.float64) - np.asarray(centers)[codes]) ** 2)


def coded(values, num_clusters, rate_weight, weights=None):
    centers, limits = codebook.fit_rate(values, num_clusters, rate_weight, weights=weights)
    codes = np.asarray(codebook.encode(centers, values, limits=limits)).astype(np.int64)
    return np.asarray(centers), np.asarray(limits), codes


def least_cost(values, price, weights=None):
    """The least error + price x bits over all partitions into intervals, any number of them."""
    w = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    v, where = np.unique(values.astype(np.float64), return_inverse=True)
    w = np.bincount(where, weights=w)
    mass, first, second = (np.append(0, np.cumsum(w * v**power)) for power in range(3))
    best = np.zeros(len(v) + 1)
    for stop in range(1, len(v) + 1):
        m = mass[stop] - mass[:stop]
        m_or_1 = np.where(m > 0, m, 1)
        error = second[stop] - second[:stop] - (first[stop] - first[:stop]) ** 2 / m_or_1
        bits = m * np.log2(mass[-1] / m_or_1)
        best[stop] = np.min(best[:stop] + np.maximum(error, 0) + price * bits)
    return best[-1]


def draw(name, n):
    rng = np.random.default_rng(0)
    if name == "mixture":
        narrow = rng.random(n) < 0.3
        return np.where(narrow, 0.01 * rng.normal(size=n) - 2, rng.normal(size=n))
    if name == "sparse":
        return np.where(rng.random(n) < 0.8, 0, rng.normal(size=n))
    if name == "decades":
        return np.sign(rng.normal(size=n)) * 10 ** rng.uniform(-6, 1, n)
    return rng.standard_t(3, n) if name == "student 3" else getattr(rng, name)(size=n)


@pytest.mark.parametrize("n", [900, 5_000])
@pytest.mark.parametrize(
    "name", ["normal", "laplace", "student 3", "uniform", "mixture", "sparse", "decades"]
)
def test_cost_is_near_the_least(name, n):
    values = draw(name, n).astype(np.float32)
    for rate_weight in [0.3, 0.1, 1e-2, 1e-3, 1e-4]:
        centers, _, codes = coded(values, 512, rate_weight)
        bits, error = rate_and_error(values, centers, codes)
        price = price_of(values, rate_weight)
        least = least_cost(values, price)
        # With few values the optimum fits each of them.
        assert error + price * bits <= (1.02 if n > 1_000 else 1.03) * least, rate_weight
        assert error + price * bits >= least * (1 - 1e-5)


def test_less_error_than_k_means_at_as_many_bits(trained):
    values = np.random.default_rng(0).choice(trained, 60_000, replace=False)
    for K, most in [(16, 0.92), (64, 0.9)]:
        centers = codebook.fit(values, K)
        codes = np.asarray(codebook.encode(centers, values)).astype(np.int64)
        bits, error = rate_and_error(values, centers, codes)
        low, high = 1e-6, 1.0
        for _ in range(12):
            middle = np.sqrt(low * high)
            found = rate_and_error(values, *(coded(values, 512, middle)[i] for i in (0, 2)))
            low, high = (low, middle) if found[0] < bits else (middle, high)
        found_bits, found_error = found
        assert found_bits == pytest.approx(bits, rel=0.02)
        assert found_error < most * error


def test_a_higher_price_takes_fewer_centers_and_bits():
    values = draw("laplace", 5_000).astype(np.float32)
    used, rates = [], []
    for rate_weight in [1e-3, 1e-2, 1e-1, 1.0, 100.0]:
        centers, limits, codes = coded(values, 512, rate_weight)
        used.append(len(set(codes.tolist())))
        rates.append(rate_and_error(values, centers, codes)[0])
        last = codes.max()
        assert np.all(np.diff(centers) >= 0)
        assert np.all(centers[last:] == centers[last])
        assert np.all(limits[last:] == np.inf)
        assert np.all(np.diff(limits[:last]) >= 0)
    assert used == sorted(used, reverse=True)
    assert rates == sorted(rates, reverse=True)
    assert used[-1] == 1


def test_the_scale_of_the_values_does_not_matter():
    values = draw("normal", 5_000).astype(np.float32)
    for scale in [1e-12, 1e15]:
        a = codebook.fit_rate(values, 128, 1e-2).centers
        b = codebook.fit_rate(values * np.float32(scale), 128, 1e-2).centers
        np.testing.assert_allclose(b, a * np.float32(scale), rtol=1e-4, atol=1e-3 * scale)


def test_no_more_cells_than_there_are_centers():
    values = draw("normal", 5_000).astype(np.float32)
    for K in [1, 2, 7, 64]:
        centers, _, codes = coded(values, K, 1e-6)
        assert centers.shape == (K,)
        assert codes.max() < K
        bits, error = rate_and_error(values, centers, codes)
        plain = codebook.fit(values, K)
        k_means = rate_and_error(values, plain, np.asarray(codebook.encode(plain, values)))
        assert error <= 2.5 * k_means[1]
        assert bits <= len(values) * np.log2(K) + 1e-6


@pytest.mark.parametrize("n", [1, 3, 900, 5_000])
def test_few_distinct_values_are_exact(n):
    pool = np.float32([-3.0, 0.1, 0.2, 1e3])[: min(n, 4)]
    values = np.random.default_rng(0).choice(pool, n)
    centers, _, codes = coded(values, 16, 1e-10)
    assert centers[codes].tolist() == values.tolist()


def test_weights_count_like_copies_and_zero_not_at_all():
    rng = np.random.default_rng(1)
    for n in (900, 5_000):
        values = rng.laplace(size=n).astype(np.float32)
        values[0], copies = 1e9, rng.integers(0, 4, n)
        copies[0] = 0
        centers, _, codes = coded(values, 256, 1e-2, weights=copies.astype(np.float32))
        bits, error = rate_and_error(values, centers, codes, copies)
        price = price_of(values, 1e-2, copies)
        assert error + price * bits <= 1.02 * least_cost(values, price, copies)


def test_vmap_map_and_a_traced_price_agree_with_a_loop():
    clients = np.random.default_rng(0).laplace(size=(3, 2_000)).astype(np.float32)
    prices = jnp.array([1e-3, 1e-2, 1e-1])
    loop = [codebook.fit_rate(v, 64, p) for v, p in zip(clients, prices, strict=True)]

    def fit(values, price):
        return codebook.fit_rate(values, 64, price)

    mapped = jax.lax.map(lambda a: fit(*a), (jnp.asarray(clients), prices))
    for found in (jax.jit(jax.vmap(fit))(clients, prices), mapped):
        np.testing.assert_allclose(found.centers, [one.centers for one in loop], atol=1e-4)


def test_bad_settings_and_shapes_are_named():
    with pytest.raises(ConfigError, match=r"algorithm\.rate_weight: 0"):
        codebook.fit_rate(jnp.ones(3), 2, 0.0)
    with pytest.raises(ConfigError, match=r"algorithm\.num_clusters"):
        codebook.fit_rate(jnp.ones(3), 0, 0.1)
    with pytest.raises(DataError, match="fit_rate: values"):
        codebook.fit_rate(jnp.ones((2, 2)), 2, 0.1)
    with pytest.raises(DataError, match="limits"):
        codebook.encode(jnp.arange(3.0), jnp.ones(3), limits=jnp.ones(3))
