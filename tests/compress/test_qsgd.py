"""Levels rounded at random: the published steps, their mean, and what they take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import wire
from fedcode_jax.compress import qsgd
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message
from fedcode_jax.wire.sizes import MESSAGE_HEADER_BYTES

KEY = jax.random.key(0)


def vector(n, seed=0):
    return np.float32(np.random.default_rng(seed).standard_t(4, n))


def published(values, s, bucket):
    """s |v| / norm of every value, and norm / s: with float64, bucket by bucket."""
    scaled, scales = [], []
    for start in range(0, len(values), bucket):
        part = values[start : start + bucket].astype(np.float64)
        norm = np.sqrt(np.sum(part**2))
        scaled.append(s * np.abs(part) / norm)
        scales.append(np.full(len(part), norm / s))
    return np.concatenate(scaled), np.concatenate(scales)


@pytest.mark.parametrize(("bits", "s"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_a_level_is_one_of_the_two_next_to_the_value(bits, s):
    values = vector(1000)
    section, _ = qsgd(bits).compress(None, jnp.asarray(values), KEY)
    scaled, scales = published(values, s, 128)
    assert (section.limit, section.parts) == (s, (128,) * 7 + (104,))
    size = np.abs(np.asarray(section.levels, np.float64))
    near = s * 2.0**-14  # scales have 16 bits on the wire
    assert np.all((size >= np.floor(scaled - near)) & (size <= np.ceil(scaled + near)))
    signs = np.sign(values) * np.sign(np.asarray(section.levels))
    assert set(signs.tolist()) <= {0.0, 1.0}
    found = np.asarray(qsgd(bits).decompress(section, 1000))
    np.testing.assert_allclose(found, np.asarray(section.levels) * scales, rtol=2.0**-15)


@pytest.mark.parametrize(("bits", "bucket"), [(2, 16), (4, 128)])
def test_the_mean_of_many_is_the_vector(bits, bucket):
    values, draws, s = vector(300, 1), 4000, 2 ** (bits - 1) - 1
    compressor = qsgd(bits, bucket)

    def one(key):
        section, _ = compressor.compress(None, jnp.asarray(values), key)
        return compressor.decompress(section, 300)

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, draws)), np.float64)
    scaled, scales = published(values, s, bucket)
    up = scaled - np.floor(scaled)
    spread = scales * np.sqrt(up * (1 - up))
    # Besides chance, only what the uniform numbers are rounded to.
    error = np.abs(found.mean(axis=0) - values)
    assert np.all(error <= 5 * spread / np.sqrt(draws) + 1e-4 * scales)
    ratio = np.sum((found - values) ** 2) / draws / np.sum(spread**2)
    assert 0.95 < ratio < 1.05  # the published variance


def test_no_level_passes_the_limit_where_one_value_is_the_norm():
    rng = np.random.default_rng(2)
    values = np.float32(rng.normal(size=2000) * 10.0 ** rng.integers(-30, 37, 2000))
    for bits in (2, 8):
        section, _ = qsgd(bits, bucket=1).compress(None, jnp.asarray(values), KEY)
        assert np.max(np.abs(np.asarray(section.levels, np.int32))) == section.limit
        assert np.all(np.asarray(section.scales) * np.float64(section.limit) >= np.abs(values))
        wire.encode(Message(np.int32(Kind.UPDATE), (section,)))  # refuses what is not allowed


@pytest.mark.parametrize("value", [0.0, 1.0, -1e-30, 1e30, 3e38])
def test_vectors_of_one_value_are_finite(value):
    values = jnp.full(200, value, jnp.float32)
    section, _ = jax.jit(lambda v: qsgd(4).compress(None, v, KEY))(values)
    found = np.asarray(qsgd(4).decompress(section, 200), np.float64)
    assert np.all(np.isfinite(found))
    if 0 < abs(value) < 3e38:
        np.testing.assert_allclose(found.mean(), value, rtol=0.3)
    else:
        assert value or not found.any()


@pytest.mark.parametrize("coding", ["fixed", "entropy", "adaptive"])
def test_the_bytes_are_as_many_as_is_said(coding):
    n, bucket = 6000, 128
    buckets = -(-n // bucket)
    for bits, s in ((2, 1), (4, 7)):
        section, _ = qsgd(bits, bucket, coding).compress(None, jnp.asarray(vector(n)), KEY)
        message = Message(np.int32(Kind.UPDATE), (section,))
        counted, written = int(wire.size_bits(message)), 8 * len(wire.encode(message))
        header = 8 * (MESSAGE_HEADER_BYTES + 16)
        assert int(wire.formula_bits(message)) == n * bits + 32 * buckets
        if coding == "fixed":
            assert counted == written == n * bits + 32 * buckets + header - 32
            assert written - header <= 1.02 * n * (bits + 32 / bucket)
        else:
            assert abs(counted - written) <= 64
            assert written <= 1.02 * (n * np.log2(2 * s + 1) + 32 * buckets) + header


def test_levels_that_are_entropy_coded_take_their_entropy():
    n, bits = 6000, 4
    section, _ = qsgd(bits, coding="entropy").compress(None, jnp.asarray(vector(n)), KEY)
    share = np.unique(np.asarray(section.levels), return_counts=True)[1] / n
    entropy = -np.sum(share * np.log2(share)) * n
    buckets = -(-n // 128)
    beside = 32 * buckets + 8 * (MESSAGE_HEADER_BYTES + 16 + 15)  # with the table
    written = 8 * len(wire.encode(Message(np.int32(Kind.UPDATE), (section,))))
    assert abs(written - beside - entropy) < 0.02 * entropy


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"bits": 1}, r"compressor\.bits: 1 "),
        ({"bits": 9}, r"compressor\.bits: 9 "),
        ({"bucket": 0}, r"compressor\.bucket: 0 "),
        ({"coding": "conditional"}, r"compressor\.coding: unknown name 'conditional'"),
    ],
)
def test_settings_that_are_not_allowed_are_named(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        qsgd(**settings)


def test_more_buckets_than_two_bytes_count_are_read_back():
    n = 200_001
    section, _ = jax.jit(lambda v: qsgd(4, bucket=2).compress(None, v, KEY))(vector(n))
    message = Message(np.int32(Kind.UPDATE), (section,))
    data = wire.encode(message)
    assert 8 * len(data) == int(wire.size_bits(message))
    (there,) = wire.decode(data).sections
    assert there.parts == section.parts == (2,) * 100_000 + (1,)
    values = jax.jit(wire.values)
    np.testing.assert_array_equal(values(there), values(section))
