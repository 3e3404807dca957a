"""Signs with a magnitude, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import wire
from fedcode_jax.compress import error_feedback, sign
from fedcode_jax.wire import Kind, Message
from fedcode_jax.wire.sizes import MESSAGE_HEADER_BYTES

KEY = jax.random.key(0)


def test_values_become_their_signs_times_the_mean_magnitude():
    values = np.float32(np.random.default_rng(0).normal(size=1001))
    values[::10] = 0
    values[1::10] = -0.0
    section, _ = sign().compress(None, jnp.asarray(values), KEY)
    expected = np.where(values >= 0, 1, -1) * np.mean(np.abs(values), dtype=np.float64)
    np.testing.assert_allclose(sign().decompress(section, 1001), expected, rtol=1e-6)


def test_with_feedback_it_is_ef_sign_sgd():
    n, compressor = 300, error_feedback(sign())
    memory, residual = compressor.init(n), np.zeros(n)
    run = jax.jit(compressor.compress)
    for step in range(5):
        values = np.float32(np.random.default_rng(step).standard_t(4, n))
        section, memory = run(memory, jnp.asarray(values), KEY)
        whole = values + residual
        sent = np.mean(np.abs(whole)) * np.where(whole >= 0, 1, -1)
        residual = whole - sent
        np.testing.assert_allclose(compressor.decompress(section, n), sent, atol=1e-5)
        np.testing.assert_allclose(memory[0], residual, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -2.5])
@pytest.mark.parametrize("n", [1, 100])
def test_vectors_of_one_value_come_back(value, n):
    section, _ = sign().compress(None, jnp.full(n, value), KEY)
    np.testing.assert_array_equal(sign().decompress(section, n), np.full(n, value, np.float32))


def test_a_value_takes_a_bit():
    n = 6000
    section, _ = sign().compress(None, jnp.float32(np.random.default_rng(1).normal(size=n)), KEY)
    message = Message(np.int32(Kind.UPDATE), (section,))
    assert int(wire.formula_bits(message)) == n + 32
    header = 8 * (MESSAGE_HEADER_BYTES + 5)
    assert int(wire.size_bits(message)) == 8 * len(wire.encode(message)) == n + 32 + header
