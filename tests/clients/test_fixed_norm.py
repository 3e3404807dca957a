"""Rounds with batch norm's running averages fixed, against training written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import algorithms, models, schedules
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, Plan, train
from fedcode_jax.network import Network
from fedcode_jax.simulation import Settings
from fedcode_jax.simulation.round import make_round
from fedcode_jax.simulation.state import initial_state

SIZE, RATE = 6, 0.1
ALL = jnp.arange(2)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return ClientData.from_arrays(
        rng.normal(size=(2 * SIZE, 4, 4, 1)).astype(np.float32),
        rng.integers(0, 2, 2 * SIZE),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
        tuple(np.split(np.arange(2 * SIZE), 2)),
    )


@pytest.fixture(scope="module")
def weights():
    drawn = models.init(make().model, jax.random.key(0), (4, 4, 1))
    rng = np.random.default_rng(1)
    statistics = jax.tree.map(
        lambda leaf: jnp.float32(rng.uniform(0.5, 1.5, leaf.shape)), drawn["batch_stats"]
    )
    return {**drawn, "batch_stats": statistics}


def make(fix_norm_after=None):
    """One batch an epoch, so that the order of samples does not matter."""
    model = models.cnn(2, norm="batch", widths=(3,))
    opt = optax.sgd(RATE)
    return LocalTraining(model, opt, 2, SIZE, fix_norm_after=fix_norm_after)


def trained(weights, data, fixed, axis="map"):
    lead = (lambda leaf: leaf) if axis == "map" else lambda leaf: jnp.stack([leaf, leaf])
    clients = jnp.int32(0) if axis == "map" else ALL
    keys = jax.random.key(3) if axis == "map" else jax.random.split(jax.random.key(3), 2)

    @jax.jit
    def run(weights, data, fixed):
        starts = Start(jax.tree.map(lead, weights))
        return train(make(), axis, starts, data, clients, keys, fixed, max_size=SIZE).weights

    return run(weights, data, fixed)


def by_hand(weights, data):
    """Gradient steps on the loss of the model as it is evaluated."""
    x, y = data.x[:SIZE], data.y[:SIZE]

    @jax.jit
    def gradient(params):
        def loss(params):
            logits = make().model.apply({**weights, "params": params}, x, train=False)
            return -jax.nn.log_softmax(logits)[jnp.arange(SIZE), y].mean()

        return jax.grad(loss)(params)

    params = weights["params"]
    for _ in range(2):
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient(params))
    return params


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def differ(a, b):
    return any(
        not np.allclose(x, y, atol=1e-4)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_fixed_averages_stay_and_training_is_that_of_the_evaluated_model(data, weights):
    found = trained(weights, data, jnp.bool_(True))
    assert_same(found["batch_stats"], weights["batch_stats"])
    expected = by_hand(weights, data)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found["params"], expected
    )

    together = trained(weights, data, jnp.bool_(True), "vmap")
    for c in range(2):
        assert_same(
            jax.tree.map(lambda x, c=c: x[c], together["batch_stats"]), found["batch_stats"]
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-6), together["params"], expected
    )


def test_averages_that_are_not_fixed_train_as_ever(data, weights):
    free, plain = trained(weights, data, jnp.bool_(False)), trained(weights, data, None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), free, plain)
    fixed = trained(weights, data, jnp.bool_(True))
    assert differ(free["params"], fixed["params"])
    assert differ(free["batch_stats"], fixed["batch_stats"])


def test_the_switch_is_one_program_of_all_rounds(data, weights):
    traces = 0

    def rounds(fix_norm_after):
        round_of = make_round(
            algorithms.registry["fedavg"](),
            make(fix_norm_after),
            Plan("map", 1, "native"),
            cohort=2,
            max_size=SIZE,
        )

        @jax.jit
        def step(state, data, settings):
            nonlocal traces
            traces += 1
            return round_of(state, data, settings)[0]

        settings = Settings(5, schedules.always(), RATE, 4, Network().links(2))
        state = initial_state(algorithms.registry["fedavg"](), weights, 2)
        servers = []
        for _ in range(4):
            state = step(state, data, settings)
            servers.append(algorithms.registry["fedavg"]().report(state.server, state.store)[0])
        return servers

    free, fixed = rounds(None), rounds(2)
    assert traces == 2
    for number in (0, 1):  # rounds 1 and 2
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), fixed[number], free[number]
        )
    assert differ(fixed[0]["batch_stats"], fixed[1]["batch_stats"])
    # two clients of one size: the server's mean of equal values is exact
    assert_same(fixed[2]["batch_stats"], fixed[1]["batch_stats"])
    assert_same(fixed[3]["batch_stats"], fixed[1]["batch_stats"])
    assert differ(fixed[2]["params"], fixed[1]["params"])
    assert differ(fixed[2]["params"], free[2]["params"])
    assert differ(free[2]["batch_stats"], free[1]["batch_stats"])
