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


def least_cost(values, price, weights=None, most=None):
    """The least error + price x bits over all partitions into intervals, of most cells if given."""
    w = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    v, where = np.unique(values.astype(np.float64), return_inverse=True)
    w = np.bincount(where, weights=w)
    v, w = v[w > 0], w[w > 0]
    mass, first, second = (np.append(0, np.cumsum(w * v**power)) for power in range(3))

    def costs(stop):
        """Of the cells from each start up to a stop."""
        m = mass[stop] - mass[:stop]
        error = second[stop] - second[:stop] - (first[stop] - first[:stop]) ** 2 / m
        return np.maximum(error, 0) + price * m * np.log2(mass[-1] / m)

    best = np.zeros(len(v) + 1)
    if most is None:
        for stop in range(1, len(v) + 1):
            best[stop] = np.min(best[:stop] + costs(stop))
        return best[-1]
    table = np.full((len(v) + 1, len(v) + 1), np.inf)
    for stop in range(1, len(v) + 1):
        table[:stop, stop] = costs(stop)
    best[1:], least = np.inf, np.inf
    for _ in range(most):
        best = np.min(best[:, None] + table, axis=0)
        least = min(least, best[-1])
    return least


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


@pytest.mark.parametrize("n", [900, 3_000])
def test_cost_is_near_the_least(n):
    for name in ["normal", "laplace", "student 3", "uniform", "mixture", "sparse", "decades"]:
        values = draw(name, n).astype(np.float32)
        for rate_weight in [0.3, 0.1, 1e-2, 1e-3, 1e-4]:
            centers, _, codes = coded(values, 512, rate_weight)
            bits, error = rate_and_error(values, centers, codes)
            price = price_of(values, rate_weight)
            least = least_cost(values, price)
            assert error + price * bits <= 1.003 * least, (name, rate_weight)
            assert error + price * bits >= least * (1 - 1e-5), (name, rate_weight)


@pytest.mark.parametrize(("K", "rate_weight"), [(16, 1e-2), (16, 1e-5), (64, 1e-4), (64, 1e-6)])
def test_cost_is_near_the_least_of_k_cells_where_more_are_wished_for(K, rate_weight):
    for name in ["normal", "laplace", "student 3", "mixture", "decades"]:
        values = draw(name, 600).astype(np.float32)
        centers, _, codes = coded(values, K, rate_weight)
        assert codes.max() < K
        bits, error = rate_and_error(values, centers, codes)
        price = price_of(values, rate_weight)
        assert error + price * bits <= 1.015 * least_cost(values, price, most=K), name


def test_less_error_than_k_means_at_as_many_bits(trained):
    centers = codebook.fit(trained, 64)
    codes = np.asarray(codebook.encode(centers, trained)).astype(np.int64)
    bits, error = rate_and_error(trained, centers, codes)
    low, high = 1e-6, 1.0
    for _ in range(12):
        middle = np.sqrt(low * high)
        found_centers, _, found_codes = coded(trained, 512, middle)
        found_bits, found_error = rate_and_error(trained, found_centers, found_codes)
        low, high = (low, middle) if found_bits < bits else (middle, high)
    assert found_bits == pytest.approx(bits, rel=0.005)
    assert found_error < 0.87 * error


def test_a_higher_price_takes_fewer_centers_and_bits():
    values = draw("laplace", 3_000).astype(np.float32)
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
    values = draw("normal", 900).astype(np.float32)
    plain = codebook.fit_rate(values, 512, 1e-2)
    for power in [-80, 100]:
        scaled = codebook.fit_rate(np.ldexp(values, power), 512, 1e-2)
        for a, b in zip(plain, scaled, strict=True):
            np.testing.assert_array_equal(b, np.ldexp(a, power))
    for scale in [1e-12, 1e15]:  # not without rounding
        scaled = values * np.float32(scale)
        centers, _, codes = coded(scaled, 512, 1e-2)
        bits, error = rate_and_error(scaled, centers, codes)
        price = price_of(scaled, 1e-2)
        assert error + price * bits <= 1.003 * least_cost(scaled, price)


@pytest.mark.parametrize("n", [1, 900, 3_000])
def test_few_distinct_values_are_exact(n):
    for pool in ([-3.0, 0.1, 0.2, 1e3], [7.5]):
        values = np.random.default_rng(0).choice(np.float32(pool), n)
        centers, limits, codes = coded(values, 512, 1e-10)
        assert centers[codes].tolist() == values.tolist()
        assert len(set(codes.tolist())) == len(set(values.tolist()))
        assert np.all(np.isfinite(centers))
        assert not np.any(np.isnan(limits))


@pytest.mark.parametrize("place", [1e3, 1e8])
def test_far_outliers_take_a_cell_and_no_more(place):
    values = draw("normal", 900).astype(np.float32)
    values[5] = place
    for rate_weight in [1e-4, 1e-8]:
        centers, limits, codes = coded(values, 512, rate_weight)
        assert np.all(np.isfinite(centers))
        assert not np.any(np.isnan(limits))
        assert np.sum(codes == codes[5]) == 1
        bits, error = rate_and_error(values, centers, codes)
        price = price_of(values, rate_weight)
        assert error + price * bits <= 1.01 * least_cost(values, price)


def test_weights_count_like_copies_and_zero_not_at_all():
    rng = np.random.default_rng(1)
    values = rng.laplace(size=3_000).astype(np.float32)
    copies = rng.integers(0, 4, 3_000)
    values[0], copies[0] = 1e9, 0
    centers, _, codes = coded(values, 512, 1e-2, weights=copies.astype(np.float32))
    bits, error = rate_and_error(values, centers, codes, copies)
    price = price_of(values, 1e-2, copies)
    assert error + price * bits <= 1.005 * least_cost(values, price, copies)
    # If no value has weight, all count alike.
    nothing = coded(values[1:901], 512, 1e-2, weights=np.zeros(900, np.float32))
    for a, b in zip(nothing, coded(values[1:901], 512, 1e-2), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_vmap_map_and_a_traced_price_agree_with_a_loop():
    clients = np.random.default_rng(0).laplace(size=(3, 600)).astype(np.float32)
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
