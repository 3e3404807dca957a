"""DRIVE and EDEN against plain NumPy: what is read, its mean, its error and its bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rotations

from fedcode_jax import wire
from fedcode_jax.compress import drive, eden
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message

KEY = jax.random.key(0)
NORMAL = {2: [0.4528, 1.5104], 3: [0.2451, 0.7560, 1.3439, 2.1520]}
"""The positive centers of Max 1960, table I."""
ERRORS = {0.5: np.pi - 1, 1: 0.571, 2: 0.133, 3: 0.0358, 4: 0.0096}
LEAST = {0.5: 1 - 1 / np.pi, 1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497}
"""Of the scale with the least error: that of the quantiser itself."""


def vector(n, seed=0):
    return np.random.default_rng(seed).standard_t(3, n).astype(np.float32)


def readings(compressor, values, count):
    """What a receiver reads under as many keys: f32[count, n]."""

    def read(key):
        section, _ = compressor.compress(None, jnp.asarray(values), key)
        return compressor.decompress(section, len(values))

    return np.asarray(jax.jit(jax.vmap(read))(jax.random.split(KEY, count)), np.float64)


def published(x, seed, bits, unbiased):
    """The steps of the papers, in NumPy."""
    y = rotations.forward(x, seed).astype(np.float64)
    places = rotations.places(int(np.ceil(min(bits, 1) * x.size)), x.size, seed)
    y, length = y[places], np.sum(x.astype(np.float64) ** 2)
    if bits <= 1:
        q = np.where(y >= 0, 1.0, -1.0)
    else:
        centers = np.array([-c for c in NORMAL[bits][::-1]] + NORMAL[bits])
        middles = (centers[1:] + centers[:-1]) / 2
        q = centers[np.digitize(y * np.sqrt(x.size / length), middles)]
    scale = length / (q @ y) if unbiased else (q @ y) / (q @ q)
    return rotations.back(scale * q, seed, x.size)


@pytest.mark.parametrize("bits", [0.5, 1, 2, 3])
@pytest.mark.parametrize("unbiased", [True, False])
def test_what_is_read_is_that_of_the_published_steps(bits, unbiased):
    x = vector(700)
    compressor = eden(bits, unbiased)
    section, _ = compressor.compress(None, jnp.asarray(x), KEY)
    found = compressor.decompress(section, x.size)
    np.testing.assert_allclose(found, published(x, section.seed, bits, unbiased), atol=2e-3)


def test_drive_is_eden_at_one_bit():
    x = jnp.asarray(vector(300))
    for unbiased in (True, False):
        (one, _), (other, _) = (c(unbiased=unbiased).compress(None, x, KEY) for c in (drive, eden))
        np.testing.assert_array_equal(one.values.bits, other.values.bits)
        assert float(one.values.magnitude) == float(other.values.magnitude)


@pytest.mark.parametrize("bits", ERRORS)
def test_the_error_is_that_of_the_papers_whatever_the_vector(bits):
    n = 3000
    spikes = np.zeros(n, np.float32)
    spikes[-3:] = [5, 3, 1]
    for x in (np.float32(np.random.default_rng(1).normal(size=n)), spikes):
        length = np.sum(x**2)
        for unbiased, expected in ((True, ERRORS), (False, LEAST)):
            error = np.mean(np.sum((readings(eden(bits, unbiased), x, 20) - x) ** 2, axis=1))
            np.testing.assert_allclose(error / length, expected[bits], rtol=0.04)


@pytest.mark.parametrize("bits", [0.5, 1, 2])
def test_the_mean_over_rotations_is_the_vector(bits):
    n, count = 1000, 2000
    spikes = np.zeros(n, np.float32)
    spikes[[0, 500, -1]] = [5, 3, -1]
    for x in (vector(n), spikes):
        found = readings(eden(bits), x, count)
        error = found.mean(axis=0) - x
        deviation = found.std(axis=0) / np.sqrt(count)
        assert np.all(np.abs(error) < 5.5 * deviation + 1e-5 * np.abs(x).max())
        # All values together: a bias that is below the noise of each would show here.
        assert np.sum(error**2) < 1.2 * np.sum(deviation**2)
        np.testing.assert_allclose(found @ x, np.sum(x.astype(np.float64) ** 2), rtol=1e-4)


@pytest.mark.parametrize("bits", [0.3, 1, 2, 4])
def test_the_bits_are_those_of_the_papers(bits):
    n = 9001
    section, _ = eden(bits).compress(None, jnp.asarray(vector(n)), KEY)
    message = Message(np.int32(Kind.UPDATE), (section,))
    scales = 32 if bits <= 1 else 32 * 2**bits
    formula = np.ceil(bits * n) + scales + 32
    assert int(wire.formula_bits(message)) == formula
    measured = 8 * len(wire.encode(message))
    assert int(wire.size_bits(message)) == measured
    assert formula <= measured <= formula + 8 * (9 + 9 + 7 + 1)


def test_every_vector_is_read_as_finite_numbers():
    for bits in (0.5, 4):
        compressor = eden(bits)
        for x in ([-3.0], [0.0] * 9, [2.0] * 40, [1e30, -1e30, 1e-30], [1e-38] * 9):
            section, _ = compressor.compress(None, jnp.float32(x), KEY)
            data = wire.encode(Message(np.int32(Kind.UPDATE), (section,)))
            found = compressor.decompress(wire.decode(data).sections[0], len(x))
            assert np.isfinite(found).all()
            if not any(x):
                assert not np.any(found)
    assert float(eden(4).decompress(eden(4).compress(None, jnp.array([-3.0]), KEY)[0], 1)[0]) == -3


def test_settings_that_cannot_be_used_are_named():
    for bits in (0, 0.05, 1.5, 5, float("nan"), True):
        with pytest.raises(ConfigError, match=r"compressor\.bits"):
            eden(bits)
    base = {"algorithm.name": "fedavg", "algorithm.up.name": "eden"}
    with pytest.raises(ConfigError, match=r"algorithm\.up\.bits: 2\.5"):
        replace(ExperimentConfig(), {**base, "algorithm.up.bits": 2.5})
    up = replace(ExperimentConfig(), base).algorithm.up
    assert (up.error_feedback, up.build().has_memory) == ("none", False)
