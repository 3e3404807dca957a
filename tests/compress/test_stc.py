"""Sparse ternary compression, against plain NumPy and the published count of bits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import wire
from fedcode_jax.compress import error_feedback, stc
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message
from fedcode_jax.wire.sizes import MESSAGE_HEADER_BYTES

KEY = jax.random.key(0)


def ternary(values, fraction):
    """Algorithm 1 of the paper."""
    k = max(1, math.ceil(fraction * len(values) - 1e-6))
    kept = np.argsort(-np.abs(values), kind="stable")[:k]
    found = np.zeros(len(values))
    found[kept] = np.sign(values[kept]) * np.mean(np.abs(values[kept]))
    return found


@pytest.mark.parametrize("fraction", [1e-6, 0.01, 0.3, 1.0])
def test_the_largest_values_become_one_magnitude(fraction):
    values = np.float32(np.random.default_rng(0).standard_t(4, 1003))
    section, _ = stc(fraction).compress(None, jnp.asarray(values), KEY)
    expected = ternary(values.astype(np.float64), fraction)
    np.testing.assert_allclose(stc().decompress(section, 1003), expected, rtol=1e-6)


def test_with_feedback_it_is_what_clients_do_in_the_paper():
    n, compressor = 400, error_feedback(stc(0.05))
    memory, residual = compressor.init(n), np.zeros(n)
    run = jax.jit(compressor.compress)
    for step in range(5):
        values = np.float32(np.random.default_rng(step).standard_t(4, n))
        section, memory = run(memory, jnp.asarray(values), KEY)
        sent = ternary(values + residual, 0.05)
        residual = values + residual - sent
        np.testing.assert_allclose(compressor.decompress(section, n), sent, atol=1e-5)
        np.testing.assert_allclose(memory[0], residual, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -2.5])
@pytest.mark.parametrize("n", [1, 100])
def test_vectors_of_one_value_are_finite(value, n):
    section, _ = stc(0.1).compress(None, jnp.full(n, value), KEY)
    found = np.asarray(stc().decompress(section, n))
    assert np.sum(found) == np.float32(value) * math.ceil(0.1 * n)


@pytest.mark.parametrize(("fraction", "n"), [(0.001, 200_000), (0.01, 50_000), (0.1, 8_000)])
def test_the_bytes_are_within_two_percent_of_golomb_codes(fraction, n):
    values = jnp.float32(np.random.default_rng(3).normal(size=n))
    section, _ = stc(fraction).compress(None, values, KEY)
    message = Message(np.int32(Kind.UPDATE), (section,))
    counted, written = int(wire.size_bits(message)), 8 * len(wire.encode(message))
    golden = (math.sqrt(5) + 1) / 2
    b = 1 + math.floor(math.log2(math.log(golden - 1) / math.log(1 - fraction)))
    each = b + 1 / (1 - (1 - fraction) ** 2**b) + 1
    header = 8 * (MESSAGE_HEADER_BYTES + 14 + 5) + 32
    assert counted == written
    assert abs(written - header - each * fraction * n) <= 0.02 * each * fraction * n + 16
    if fraction == 0.01:
        assert abs(each * fraction - 0.0911) < 1e-4  # as the paper has it


@pytest.mark.parametrize("fraction", [0, 1.5, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(fraction):
    with pytest.raises(ConfigError, match=r"compressor\.fraction"):
        stc(fraction)
