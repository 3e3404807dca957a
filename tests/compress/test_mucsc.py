"""MUCSC against brute force and plain NumPy: centers, the mean of what is read, bits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import wire
from fedcode_jax.compress import mucsc
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message

KEY = jax.random.key(0)


def cost(values, centers):
    """Sum of (u - c_j) (c_{j+1} - u), in NumPy."""
    upper = np.clip(np.searchsorted(centers, values), 1, len(centers) - 1)
    return np.sum((values - centers[upper - 1]) * (centers[upper] - values))


def best(values, K):
    """The least cost of K centers among the values, by dynamic programming in float64."""
    ordered = np.unique(values)
    steps = np.full((len(ordered),) * 2, np.inf)
    for i, j in itertools.combinations(range(len(ordered)), 2):
        inside = values[(values > ordered[i]) & (values < ordered[j])]
        steps[i, j] = np.sum((inside - ordered[i]) * (ordered[j] - inside))
    least = steps[0]
    for _ in range(K - 2):
        least = np.min(least[:, None] + steps, axis=0)
    return least[-1]


def centers_of(compressor, values):
    section, _ = compressor.compress(None, jnp.float32(values), KEY)
    return np.asarray(section.centers, np.float64)


@pytest.mark.parametrize("K", [3, 5])
def test_of_few_values_the_centers_are_the_best(K):
    for seed in range(2):
        values = np.float32(np.random.default_rng(seed).standard_t(3, 13)).astype(np.float64)
        centers = centers_of(mucsc(K), values)
        ordered = np.sort(values)
        tried = itertools.combinations(ordered[1:-1], K - 2)
        least = min(cost(values, np.array([ordered[0], *c, ordered[-1]])) for c in tried)
        assert cost(values, centers) <= least * (1 + 1e-5)
        np.testing.assert_allclose(least, best(values, K), rtol=1e-9)


@pytest.mark.parametrize("K", [4, 16])
def test_of_many_values_they_are_near_the_best(K):
    values = np.float32(np.random.default_rng(0).standard_t(4, 600)).astype(np.float64)
    assert cost(values, centers_of(mucsc(K), values)) <= 1.01 * best(values, K)


def test_few_values_and_constants_are_read_as_they_are():
    compressor = mucsc(4)
    for values in ([0.0] * 7, [3.0], [-2.0, 5.0], [1.0, 2.0, 2.0, 4.0, 1.0]):
        section, _ = compressor.compress(None, jnp.float32(values), KEY)
        np.testing.assert_array_equal(compressor.decompress(section, len(values)), values)


def test_the_mean_of_what_is_read_is_the_vector():
    values, count = np.float32(np.random.default_rng(1).standard_t(4, 300)), 3000
    compressor = mucsc(4)
    read = jax.jit(
        lambda key: compressor.decompress(compressor.compress(None, values, key)[0], values.size)
    )
    found = np.asarray(jax.vmap(read)(jax.random.split(KEY, count)), np.float64)
    error, deviation = found.mean(axis=0) - values, found.std(axis=0) / np.sqrt(count)
    assert np.all(np.abs(error) < 5 * deviation + 1e-6)
    assert np.sum(error**2) < 1.3 * np.sum(deviation**2)
    # Its error is the cost that the centers have the least of.
    np.testing.assert_allclose(
        np.mean(np.sum((found - values) ** 2, axis=1)),
        cost(values.astype(np.float64), centers_of(compressor, values)),
        rtol=0.02,
    )


def test_the_insignificant_have_one_center_and_the_others_are_as_without():
    values = np.float32(np.random.default_rng(2).standard_t(4, 1000))
    section, _ = mucsc(6, insignificant=0.6).compress(None, values, KEY)
    small = np.argsort(np.abs(values))[:600]
    read = np.asarray(mucsc().decompress(section, 1000))
    np.testing.assert_allclose(read[small], values[small].mean(), rtol=1e-4)
    others = np.delete(values, small)
    kept = np.delete(np.asarray(section.centers), section.codes[small[0]])
    np.testing.assert_allclose(kept, centers_of(mucsc(5), others), rtol=0.02)
    upper = np.clip(np.searchsorted(kept, others), 1, 4)
    chosen = np.delete(read, small)
    assert np.all((chosen == kept[upper]) | (chosen == kept[upper - 1]) | (chosen == others))


@pytest.mark.parametrize(("K", "insignificant"), [(4, 0.0), (16, 0.0), (4, 0.5)])
def test_the_bits_are_those_of_the_paper(K, insignificant):
    values = np.float32(np.random.default_rng(3).normal(size=9001))
    section, _ = mucsc(K, insignificant=insignificant).compress(None, values, KEY)
    message = Message(np.int32(Kind.UPDATE), (section,))
    formula = 9001 * int(np.log2(K)) + 32 * K
    assert int(wire.formula_bits(message)) == formula
    measured = 8 * len(wire.encode(message))
    assert int(wire.size_bits(message)) == measured
    assert formula <= measured < 1.02 * formula


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_clusters": 1}, r"compressor\.num_clusters: 1"),
        ({"num_clusters": 65}, r"compressor\.num_clusters: 65"),
        ({"num_clusters": 2, "insignificant": 0.5}, r"compressor\.num_clusters: 2"),
        ({"insignificant": 1.0}, r"compressor\.insignificant: 1"),
        ({"coding": "conditional"}, r"compressor\.coding"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        mucsc(**settings)
