"""FedBAT against the published operator and rounds in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hooked import drawn, key_of, stacked

from fedcode_jax import schedules, wire
from fedcode_jax.algorithms import fedbat
from fedcode_jax.algorithms.fedbat import binarised
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind

SENDS = schedules.always()(1)
SAMPLES = np.array([3.0, 1.0, 4.0])
STEPS, RATE, RHO = (7, 4, 9), 0.1, 6.0
SHAPES = {"first": (4, 3), "last": (3, 2)}
"""Of the kernels; each has a bias."""


def weights(seed, scale):
    rng = np.random.default_rng(seed)
    made = lambda shape: jnp.float32(scale * rng.normal(size=shape))  # noqa: E731
    return {name: {"kernel": made(s), "bias": made(s[-1:])} for name, s in SHAPES.items()}


def published(m, a, u):
    """Binarised, and what the gradient is multiplied by for m, and for a, as in the program."""
    bits = np.clip(np.floor(0.5 * (m / a + 1) + u), 0, 1)
    small, big = m / a < -1, m / a > 1
    middle = 1.0 - small - big
    return (2 * bits - 1) * a, middle, big - 1.0 * small + middle * (2 * bits - (m / a + 1))


def uniform(key, g, shape):
    return np.asarray(jax.random.uniform(jax.random.fold_in(key, g), shape), np.float64)


class Client:
    """Trains kernels by the paper's steps; each kernel's loss is half its squared distance."""

    def __init__(self, kernels):
        self.w = [np.float64(kernel) for kernel in kernels]
        self.m = [np.zeros(w.shape) for w in self.w]
        self.alpha, self.first = np.zeros(len(self.w)), np.zeros(len(self.w))

    def sizes(self):
        return np.clip(self.first * np.exp(RHO * self.alpha), 5e-4, 5e-2)

    def train(self, targets, client, steps, phi):
        warm = max(1, int(phi * steps))
        for step in range(steps):
            sizes = self.sizes()
            for g, target in enumerate(targets):
                update, through, to_size = self.m[g], 1.0, 0.0
                if step >= warm:
                    u = uniform(key_of(client, step), g, target.shape)
                    update, through, to_size = published(self.m[g], sizes[g], u)
                grad = self.w[g] + update - target
                free = self.first[g] * np.exp(RHO * self.alpha[g])
                if 5e-4 <= free <= 5e-2:
                    self.alpha[g] -= RATE * np.sum(grad * to_size) * free * RHO
                self.m[g] -= RATE * grad * through
            if step + 1 == warm:
                self.first = np.array([np.abs(m).mean() for m in self.m])


@pytest.mark.parametrize("a", [0.02, 0.7])
def test_the_operator_and_its_gradients_are_those_of_the_program(a):
    rng = np.random.default_rng(0)
    m, u, dy = rng.normal(size=500), rng.uniform(size=500), rng.normal(size=500)
    found, back = jax.vjp(
        lambda m, a: binarised(m, a, jnp.float32(u)), jnp.float32(m), jnp.float32(a)
    )
    value, through, to_size = published(np.float32(m), np.float32(a), np.float32(u))
    np.testing.assert_allclose(found, value, rtol=1e-6)
    dm, da = back(jnp.float32(dy))
    np.testing.assert_allclose(dm, dy * through, atol=1e-5)
    assert float(da) == pytest.approx(np.sum(dy * to_size), rel=1e-4)
    assert 0 < through.mean() < 1


def test_it_is_unbiased_within_its_size():
    m = jnp.linspace(-0.9, 0.9, 7)
    u = jax.random.uniform(jax.random.key(0), (20_000, 7))
    mean = jnp.mean(jax.vmap(lambda u: binarised(m, jnp.float32(1), u))(u), axis=0)
    np.testing.assert_allclose(mean, m, atol=0.03)


@pytest.mark.parametrize("phi", [0.5, 0.0])
def test_rounds_are_those_of_the_paper(phi):
    algorithm, params = fedbat(RHO, phi), weights(0, 0.3)
    server, store = algorithm.init({"params": params}, len(STEPS))
    learnt_apart = []
    for number in range(2):
        message, server = algorithm.broadcast(server, SENDS, jax.random.key(number))
        held = server.weights["params"]
        names = list(held)
        uploads, expected = [], {name: [0.0, 0.0] for name in names}
        for client, steps in enumerate(STEPS):
            stored = jax.tree.map(lambda x, c=client: x[c], store)
            start = algorithm.receive(stored, message, None)
            target = jax.tree.map(jnp.add, held, weights(10 + client, 0.1))
            work = drawn(algorithm.objective, start, target, client, steps, RATE)
            key = jax.random.key(50 + client)
            upload, _ = algorithm.upload(stored, work, SENDS, key)
            one = Client([held[name]["kernel"] for name in names])
            one.train([np.float64(target[n]["kernel"]) for n in names], client, steps, phi)
            share = SAMPLES[client] / SAMPLES.sum()
            for g, name in enumerate(names):
                u = uniform(key, g, one.m[g].size)
                sent, _, _ = published(one.m[g].ravel(), one.sizes()[g], u)
                np.testing.assert_allclose(wire.values(upload.sections[g]), sent, rtol=1e-4)
                expected[name][0] += share * (np.float64(held[name]["kernel"]).ravel() + sent)
                bias, to = np.float64(held[name]["bias"]), np.float64(target[name]["bias"])
                expected[name][1] += share * (to + (1 - RATE) ** steps * (bias - to))
            if phi:
                learnt_apart.append(np.abs(one.sizes() / one.first - 1).max())
            uploads.append(upload)
        server = algorithm.aggregate(server, stacked(uploads), jnp.float32(SAMPLES), SENDS)
        for name, (kernel, bias) in expected.items():
            found = server.weights["params"][name]
            np.testing.assert_allclose(np.ravel(found["kernel"]), kernel, atol=1e-6)
            np.testing.assert_allclose(found["bias"], bias, atol=1e-6)
    assert not phi or max(learnt_apart) > 0.05  # sizes were learnt, not only set


def test_before_the_warm_up_has_ended_training_is_that_of_fedavg():
    algorithm, params = fedbat(phi=0.9), weights(0, 0.3)
    server, store = algorithm.init({"params": params}, 1)
    message, _ = algorithm.broadcast(server, SENDS, jax.random.key(0))
    start = algorithm.receive(jax.tree.map(lambda x: x[0], store), message, None)
    target = weights(1, 0.3)
    for steps, free in ((1, 1), (2, 1), (3, 2)):
        work = drawn(algorithm.objective, start, target, 0, steps, RATE)
        # The first step is free in any case.
        share = (1 - RATE) ** free
        for name in params:
            w, to = params[name]["kernel"], target[name]["kernel"]
            found = work.trained["params"].params[name]["kernel"]
            expected = to + share * (w - to)
            np.testing.assert_allclose(found, expected, atol=1e-6 if steps == free else 3e-2)
            assert np.allclose(found, expected, atol=1e-6) == (steps == free)


@pytest.mark.parametrize("alpha", [-1e4, 1e4])
def test_a_size_that_ran_away_stays_in_its_range_and_its_gradient_is_0(alpha):
    algorithm, params = fedbat(phi=0.0), weights(0, 0.3)
    server, store = algorithm.init({"params": params}, 1)
    message, _ = algorithm.broadcast(server, SENDS, jax.random.key(0))
    start = algorithm.receive(jax.tree.map(lambda x: x[0], store), message, None)
    learnt = start.weights["params"]._replace(alpha=jnp.full(2, alpha), first=jnp.full(2, 0.01))
    start = start._replace(weights={"params": learnt})
    work = drawn(algorithm.objective, start, weights(1, 0.3), 0, 2, RATE)
    np.testing.assert_array_equal(work.trained["params"].alpha, alpha)
    work = work._replace(trained={"params": learnt})
    upload, _ = algorithm.upload(
        jax.tree.map(lambda x: x[0], store), work, SENDS, jax.random.key(0)
    )
    for section in upload.sections[:2]:
        assert float(section.magnitude) == np.float32(5e-4 if alpha < 0 else 5e-2)


def test_it_sends_a_bit_a_value_and_32_a_kernel():
    algorithm, params = fedbat(), weights(0, 0.3)
    server, store = algorithm.init({"params": params}, 1)
    message, _ = algorithm.broadcast(server, SENDS, jax.random.key(0))
    stored = jax.tree.map(lambda x: x[0], store)
    start = algorithm.receive(stored, message, None)
    work = drawn(algorithm.objective, start, params, 0, 2, RATE)
    upload, after = algorithm.upload(stored, work, SENDS, jax.random.key(0))
    assert jax.tree.leaves(after) == []
    assert int(wire.formula_bits(upload)) == (12 + 32) + (6 + 32) + 32 * 5
    assert int(wire.formula_bits(message)) == 32 * (12 + 6 + 5)
    assert int(upload.kind) == Kind.UPDATE
    decoded = wire.decode(wire.encode(jax.device_get(upload)))
    jax.tree.map(np.testing.assert_array_equal, decoded, wire.sent(upload))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"rho": -1.0}, r"^algorithm\.rho: "),
        ({"rho": float("inf")}, r"^algorithm\.rho: "),
        ({"phi": 1.0}, r"^algorithm\.phi: .*below 1"),
        ({"phi": -0.1}, r"^algorithm\.phi: "),
    ],
)
def test_settings_that_are_not_allowed_are_named(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        fedbat(**settings)


@pytest.mark.parametrize(
    "model",
    [
        {"params": {"dense": {"bias": jnp.zeros(3)}}},
        {"params": {"kernel": jnp.ones(3)}, "spectral": {"u": jnp.ones(3)}},
    ],
)
def test_models_without_kernels_or_with_others_are_refused(model):
    with pytest.raises(ConfigError, match=r"^algorithm\.name: .*kernels.*use fedavg"):
        fedbat().init(model, 2)
