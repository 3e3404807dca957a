"""FedBiF against its published quantiser and rounds in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hooked import drawn, stacked
from test_fedbat import SAMPLES, SENDS, SHAPES, STEPS, uniform, weights

from fedcode_jax import wire
from fedcode_jax.algorithms import At, fedbif
from fedcode_jax.algorithms.fedbif import quantised
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind

RATE = 0.05


def published(w, bits, plane, u):
    """Levels, what of the value is frozen, the active bit, and what it is worth."""
    r = np.abs(w).max()
    alpha = r / 2 ** (bits - 1)
    levels = np.clip(np.floor((w + r) / alpha + u), 0, 2**bits - 1).astype(int)
    active = (levels >> plane) & 1
    return levels, (levels - active * 2**plane) * alpha - r, active, alpha * 2**plane


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_a_kernel_is_quantised_as_in_the_program(bits):
    rng = np.random.default_rng(bits)
    w, u = np.float32(rng.normal(size=300)), np.float32(rng.uniform(size=300))
    levels, alpha = quantised(jnp.asarray(w), bits, jnp.asarray(u))
    expected, *_ = published(w, bits, 0, u)
    np.testing.assert_array_equal(levels, expected)
    assert float(alpha) == pytest.approx(np.abs(w).max() / 2 ** (bits - 1))
    assert {0, 2**bits - 1} <= set(np.asarray(levels).tolist()) or bits == 8


def test_quantisation_is_unbiased_but_at_the_upper_end():
    w = jnp.array([-1.0, -0.7, 0.0, 0.3, 0.6, 1.0])
    u = jax.random.uniform(jax.random.key(0), (20_000, 6))
    levels, alphas = jax.vmap(lambda u: quantised(w, 3, u))(u)
    mean = jnp.mean(alphas[:, None] * (levels - 4.0), axis=0)
    np.testing.assert_allclose(mean[:-1], w[:-1], atol=0.01)
    assert float(mean[-1]) == 0.75


@pytest.mark.parametrize("bits", [2, 3])
def test_rounds_are_those_of_the_program(bits):
    algorithm = fedbif(bits)
    server, store = algorithm.init({"params": weights(0, 0.3)}, len(STEPS))
    flips = []
    for number in range(bits + 1):
        held, plane = server.weights["params"], (bits - 1 - number) % bits
        names = list(held)
        key = jax.random.key(number)
        message, server = algorithm.broadcast(server, SENDS, key)
        head = np.asarray(message.sections[-1].values)
        seed = jax.random.key(int(head[-1]))
        assert head[-2] == plane
        kernels = [np.float64(held[name]["kernel"]) for name in names]
        parts = [
            published(w, bits, plane, uniform(key, g, w.size).reshape(w.shape))
            for g, w in enumerate(kernels)
        ]
        uploads, means = [], [0.0 for _ in names]
        biases = [0.0 for _ in names]
        for client, steps in enumerate(STEPS):
            stored = jax.tree.map(lambda x, c=client: x[c], store)
            start = algorithm.receive(stored, message, None)
            target = jax.tree.map(jnp.add, held, weights(10 + client, 0.1))
            work = drawn(algorithm.objective, start, target, client, steps, RATE)
            upload, _ = algorithm.upload(stored, work, SENDS, key)
            share = SAMPLES[client] / SAMPLES.sum()
            for g, (_, frozen, active, worth) in enumerate(parts):
                read = start.weights["params"][names[g]]["kernel"]
                np.testing.assert_allclose(read, frozen + worth * active, atol=1e-6)
                virtual = 2**plane * 1e-3 * (1 - uniform(seed, g, frozen.shape))
                virtual *= 2 * active - 1
                for _ in range(steps):
                    seen = frozen + worth * (virtual > 0)
                    virtual = virtual - RATE * (seen - np.float64(target[names[g]]["kernel"]))
                bit = (virtual > 0).ravel()
                np.testing.assert_array_equal(wire.values(upload.sections[g]), bit)
                flips.append(np.mean(bit != active.ravel()))
                means[g] += share * bit
                bias, to = (np.float64(t[names[g]]["bias"]) for t in (held, target))
                biases[g] += share * (to + (1 - RATE) ** steps * (bias - to))
            uploads.append(upload)
        server = algorithm.aggregate(server, stacked(uploads), jnp.float32(SAMPLES), SENDS)
        for g, (_, frozen, _, worth) in enumerate(parts):
            found = server.weights["params"][names[g]]
            expected = frozen.ravel() + worth * means[g]
            np.testing.assert_allclose(np.ravel(found["kernel"]), expected, atol=1e-6)
            np.testing.assert_allclose(found["bias"], biases[g], atol=1e-6)
    assert 0 < np.mean(flips) < 1


def received(bits=3, params=None, seed=0):
    algorithm = fedbif(bits)
    server, store = algorithm.init({"params": params or weights(0, 0.3)}, 1)
    message, server = algorithm.broadcast(server, SENDS, jax.random.key(seed))
    return algorithm, server, store, message, algorithm.receive(store, message, None)


def test_what_is_seen_differs_from_what_was_received_in_the_active_bit_alone():
    algorithm, server, _, _, start = received()
    params = start.weights["params"]
    at = At(jnp.int32(0), jnp.int32(1))
    see = lambda p: algorithm.objective.view(p, start.carried, at, jax.random.key(0))  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, see(params), params)
    noise = weights(7, 3e-3)
    moved, back = jax.vjp(see, jax.tree.map(jnp.add, params, noise))
    jax.tree.map(np.testing.assert_array_equal, back(noise)[0], noise)  # the gradient as it is
    plane, changed = int(server.plane), 0
    for g, name in enumerate(params):
        r = float(server.alphas[g]) * 4
        levels = np.round((np.ravel(moved[name]["kernel"]) + r) / float(server.alphas[g]))
        turned = levels.astype(int) ^ np.asarray(server.levels[g], int)
        assert set(turned) <= {0, 1 << plane}
        changed += np.sum(turned != 0)
        np.testing.assert_array_equal(
            moved[name]["bias"], params[name]["bias"] + noise[name]["bias"]
        )
    assert 0 < changed < sum(np.prod(shape) for shape in SHAPES.values())


def test_the_planes_take_turns_from_the_highest():
    algorithm = fedbif(3)
    server, _ = algorithm.init({"params": weights(0, 1.0)}, 1)
    planes = []
    for number in range(7):
        _, server = algorithm.broadcast(server, SENDS, jax.random.key(number))
        planes.append(int(server.plane))
    assert planes == [2, 1, 0, 2, 1, 0, 2]


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_it_sends_a_bit_a_value_up_and_some_bits_down(bits):
    algorithm, _, store, message, start = received(bits)
    work = drawn(algorithm.objective, start, start.weights["params"], 0, 1, RATE)
    upload, after = algorithm.upload(store, work, SENDS, jax.random.key(0))
    assert jax.tree.leaves(after) == []
    assert int(wire.formula_bits(message)) == bits * 18 + 32 * (2 + 2) + 32 * 5
    assert int(wire.formula_bits(upload)) == 18 + 32 * 5
    for each in (message, upload):
        assert int(wire.size_bits(each)) == 8 * len(wire.encode(jax.device_get(each)))
    assert (int(message.kind), int(upload.kind)) == (Kind.WEIGHTS, Kind.UPDATE)


def test_virtual_bits_differ_by_round_and_are_on_the_side_of_their_bit():
    virtual = []
    for seed in (0, 1):
        _, server, _, _, start = received(seed=seed)
        for v, level in zip(start.carried.virtual, server.levels, strict=True):
            np.testing.assert_array_equal(np.ravel(v) > 0, np.asarray(level) >> 2 & 1)
            assert np.all(v != 0)
            assert np.abs(v).max() <= 4e-3
        virtual.append(np.abs(start.carried.virtual[0]))
    assert not np.allclose(*virtual)


def test_a_kernel_of_zeros_can_be_trained():
    params = jax.tree.map(jnp.zeros_like, weights(0, 1.0))
    algorithm, server, store, _, start = received(params=params)
    target = jax.tree.map(lambda x: x - 1, params)
    work = drawn(algorithm.objective, start, target, 0, 20, RATE)
    upload, _ = algorithm.upload(store, work, SENDS, jax.random.key(0))
    after = algorithm.aggregate(server, stacked([upload]), jnp.ones(1), SENDS)
    for leaf in jax.tree.leaves(after.weights):
        assert np.all(leaf < 0)
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("bits", [1, 9, 3.0, True])
def test_bits_that_are_not_allowed_are_named(bits):
    with pytest.raises(ConfigError, match=r"^algorithm\.bits: .*from 2 to 8"):
        fedbif(bits)


def test_a_model_without_kernels_is_refused():
    with pytest.raises(ConfigError, match=r"^algorithm\.name: .*kernels.*use fedavg"):
        fedbif().init({"params": {"dense": {"bias": jnp.zeros(3)}}}, 2)
