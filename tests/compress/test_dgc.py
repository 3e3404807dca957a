"""Deep gradient compression: the published recursion, its memory, and where it may go."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import wire
from fedcode_jax.algorithms import updates
from fedcode_jax.compress import dgc, error_feedback, topk
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message
from fedcode_jax.wire.sizes import MESSAGE_HEADER_BYTES

KEY = jax.random.key(0)


def vector(seed, n):
    return np.float32(np.random.default_rng(seed).standard_t(4, n))


def test_it_is_the_recursion_of_the_paper():
    n, momentum, clip = 400, 0.9, 15.0
    compressor = dgc(0.05, momentum, clip)
    memory, m, v = compressor.init(n), np.zeros(n), np.zeros(n)
    run = jax.jit(compressor.compress)
    for step in range(8):
        values = vector(step, n) * np.float32(0.1 if step == 2 else 1)
        section, memory = run(memory, jnp.asarray(values), KEY)
        norm = np.linalg.norm(values.astype(np.float64))
        assert (norm > clip) == (step != 2)  # some are clipped, and one is not
        m = momentum * m + values * min(1, clip / norm)
        v = v + m
        sent = np.argsort(-np.abs(v))[:20]
        expected = np.zeros(n)
        expected[sent] = v[sent]
        found = compressor.decompress(section, n)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        m[sent], v[sent] = 0, 0
        if step == 4:  # lost on the way
            memory = compressor.undo(memory, found)
            v = v + expected
        np.testing.assert_allclose(memory[0], m, atol=1e-5)
        np.testing.assert_allclose(memory[1], v, atol=1e-5)


def test_without_momentum_it_is_top_k_with_what_was_left_out():
    n, one, other = 200, dgc(0.1, momentum=0.0), error_feedback(topk(0.1))
    memory, residual = one.init(n), other.init(n)
    for step in range(4):
        values = jnp.asarray(vector(step, n))
        section, memory = one.compress(memory, values, KEY)
        same, residual = other.compress(residual, values, KEY)
        np.testing.assert_array_equal(section.positions, same.positions)
        np.testing.assert_array_equal(section.values.values, same.values.values)
        np.testing.assert_array_equal(memory[1], residual[0])


def test_what_is_sent_adds_up_to_what_momentum_makes_of_the_changes():
    n, momentum, steps = 50, 0.5, 400
    compressor, total = dgc(0.04, momentum), np.zeros(n)
    memory = compressor.init(n)
    run = jax.jit(compressor.compress)
    for _ in range(steps):
        section, memory = run(memory, jnp.ones(n), KEY)
        total += np.asarray(compressor.decompress(section, n))
    # 2, less what masking takes of each of the gaps of 25 steps.
    np.testing.assert_allclose(total.mean() / steps, 2 - 2 / 25, rtol=0.1)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("value", [0.0, -2.5])
@pytest.mark.parametrize("n", [1, 100])
def test_vectors_of_one_value_are_finite(value, n, clip):
    compressor = dgc(0.1, clip=clip)
    section, memory = compressor.compress(compressor.init(n), jnp.full(n, value), KEY)
    for each in (*memory, section.values.values):
        assert bool(jnp.isfinite(each).all())


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_what_is_not_finite_is_not_kept(clip):
    compressor = dgc(0.25, clip=clip)
    _, memory = compressor.compress((jnp.zeros(4), jnp.arange(4.0)), jnp.zeros(4), KEY)
    _, memory = compressor.compress(memory, jnp.array([0, jnp.nan, 0, jnp.inf]), KEY)
    assert bool(jnp.isfinite(jnp.array(memory)).all())
    if clip == 0:
        assert memory[1].tolist() == [0, 0, 2, 0]
    memory = compressor.undo(memory, jnp.array([0, jnp.nan, 0, 0]))
    assert bool(jnp.isfinite(jnp.array(memory)).all())


def test_the_bytes_are_within_two_percent_of_the_formula():
    n, fraction = 200_000, 0.001
    compressor = dgc()
    section, _ = compressor.compress(compressor.init(n), jnp.asarray(vector(0, n)), KEY)
    message = Message(np.int32(Kind.UPDATE), (section,))
    counted, written = int(wire.size_bits(message)), 8 * len(wire.encode(message))
    formula = n * fraction * (32 + math.log2(1 / fraction) + 1.5)
    header = 8 * (MESSAGE_HEADER_BYTES + 14 + 5)
    assert counted == written
    assert abs(written - header - formula) <= 0.02 * formula


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"fraction": 0}, r"compressor\.fraction: 0 "),
        ({"momentum": 1.0}, r"compressor\.momentum: 1.0 "),
        ({"momentum": -0.1}, r"compressor\.momentum: -0.1 "),
        ({"clip": -1.0}, r"compressor\.clip: -1.0 "),
    ],
)
def test_settings_that_are_not_allowed_are_named(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        dgc(**settings)


def fedavg(**settings):
    changes = {f"algorithm.{name}": value for name, value in settings.items()}
    return replace(ExperimentConfig(), {"algorithm.name": "fedavg", **changes})


def test_it_goes_up_with_no_residual_beside_its_own():
    algorithm = fedavg(**{"up.name": "dgc", "up.fraction": 0.1}).algorithm.build()
    _, store = algorithm.init({"params": {"kernel": jnp.zeros(100)}}, 2)
    assert [leaf.shape for leaf in jax.tree.leaves(store.up)] == [(2, 100), (2, 100)]
    assert algorithm.lost is not None
    with pytest.raises(ConfigError, match=r"^algorithm\.up\.error_feedback: 'none' has no use "):
        fedavg(**{"up.name": "dgc", "up.error_feedback": "none"})
    with pytest.raises(ValueError, match="twice"):
        error_feedback(dgc())


def test_it_does_not_go_down():
    with pytest.raises(ConfigError, match=r"^algorithm\.down\.name: dgc goes up only: .* twice"):
        fedavg(**{"down.name": "dgc"})
    with pytest.raises(ConfigError, match=r"^algorithm\.down: .* such as error feedback or dgc"):
        updates(down=dgc())


def with_memory(fraction: float = 0.1):
    return dgc(fraction)


def test_a_compressor_of_ones_own_with_a_memory_is_not_given_another(monkeypatch):
    monkeypatch.setattr("fedcode_jax.compress.with_memory", with_memory, raising=False)
    own = {"up.name": "fedcode_jax.compress:with_memory"}
    with pytest.raises(
        ConfigError, match=r"^algorithm\.up\.error_feedback: float32 cannot be used with .*set none"
    ):
        fedavg(**own).algorithm.build()
    assert fedavg(**own, **{"up.error_feedback": "none"}).algorithm.build().lost is not None
