"""FedZip against plain NumPy, and its bits against the entropy."""

import jax
import jax.numpy as jnp
import kmeans1d
import numpy as np
import pytest

from fedcode_jax import wire
from fedcode_jax.compress import fedzip
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message

KEY = jax.random.key(0)


def zipped(values, **settings):
    section, _ = fedzip(**settings).compress(None, jnp.asarray(values), KEY)
    return section, np.asarray(fedzip().decompress(section, values.size), np.float64)


@pytest.mark.parametrize("keep", [0.1, 0.2, 1.0])
def test_it_is_k_means_of_the_pruned_vector(keep):
    values = np.float32(np.random.default_rng(0).standard_t(4, 3000))
    pruned = np.zeros(3000)
    places = np.argsort(-np.abs(values))[: int(np.ceil(keep * 3000))]
    pruned[places] = values[places]
    _, found = zipped(values, keep=keep)
    exact = kmeans1d.cluster(pruned, 3)
    least = np.sum((pruned - np.array(exact.centroids)[exact.clusters]) ** 2)
    assert np.sum((pruned - found) ** 2) <= 1.005 * least


def test_what_is_pruned_is_read_as_zero():
    values = np.float32(np.random.default_rng(1).normal(size=5000))
    _, found = zipped(values)
    pruned = np.argsort(np.abs(values))[:4000]
    assert not np.any(found[pruned])
    assert np.unique(found).size == 3


def test_the_bits_are_the_entropy_and_below_those_of_a_valid_huffman_code():
    n = 20_000
    section, _ = zipped(np.float32(np.random.default_rng(2).normal(size=n)))
    counts = np.bincount(section.codes, minlength=3)
    entropy = -np.sum(counts * np.log2(counts / n))
    np.testing.assert_allclose(entropy / n, 0.922, atol=0.002)  # h(0.2) + 0.2
    message = Message(np.int32(Kind.UPDATE), (section,))
    measured = 8 * len(wire.encode(message))
    assert abs(int(wire.size_bits(message)) - measured) <= 64
    headers = 8 * (9 + 13 + 3) + 32 * 3
    assert entropy <= measured <= 1.01 * entropy + headers
    huffman = n + counts.sum() - counts.max()  # lengths 1, 2, 2
    assert measured < 0.8 * huffman
    # Lengths of 2, 1 and 1 are those of no code: Kraft's sum is above 1.
    assert sum(2.0**-length for length in (2, 1, 1)) > 1


def test_settings_that_cannot_be_used_are_named():
    for settings in ({"keep": 0.0}, {"keep": 1.5}, {"num_clusters": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            fedzip(**settings)
