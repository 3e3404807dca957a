"""Changes at the server: any optimiser of optax, on params alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rounds import CLIENTS, SAMPLES, exchange, moved, weights

from fedcode_jax import algorithms
from fedcode_jax.algorithms import Start, Work, updates
from fedcode_jax.wire import Kind, Message

SENDS = exchange(True, True)


def uploads_of(algorithm, server, store, trained):
    """The uploads of clients that all start from the server's weights."""
    message, server = algorithm.broadcast(server, SENDS, jax.random.key(0))

    def client(stored, trained):
        start = algorithm.receive(stored, message, None)
        work = Work(start, trained, jnp.int32(1), jnp.float32(0.1), jnp.float32(0))
        return algorithm.upload(stored, work, SENDS, jax.random.key(1))[0]

    return jax.vmap(client)(store, trained)


@pytest.fixture(scope="module")
def trained():
    each = [moved(weights(), seed=seed) for seed in range(CLIENTS)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def mean_of(trained):
    shares = np.asarray(SAMPLES, np.float64) / float(SAMPLES.sum())
    return jax.tree.map(lambda x: np.tensordot(shares, np.asarray(x, np.float64), 1), trained)


def test_adding_the_mean_change_is_fedavg(trained):
    for algorithm in (updates(), algorithms.fedavg()):
        server, store = algorithm.init(weights(), CLIENTS)
        uploads = uploads_of(algorithm, server, store, trained)
        after = algorithm.aggregate(server, uploads, SAMPLES, SENDS)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
            after.weights,
            mean_of(trained),
        )


def test_an_optimiser_steps_along_the_mean_change_and_statistics_are_averaged(trained):
    rate, decays, epsilon = 0.05, (0.9, 0.99), 1e-3
    algorithm = updates(server=optax.adam(rate, *decays, eps=epsilon))
    server, store = algorithm.init(weights(), CLIENTS)
    own = jax.tree.map(np.float64, weights())
    first = jax.tree.map(np.zeros_like, own["params"])
    second = jax.tree.map(np.zeros_like, own["params"])
    for step in (1, 2, 3):
        uploads = uploads_of(algorithm, server, store, trained)
        server = algorithm.aggregate(server, uploads, SAMPLES, SENDS)
        mean = mean_of(trained)
        gradient = jax.tree.map(lambda w, m: w - m, own["params"], mean["params"])
        first = jax.tree.map(lambda m, g: decays[0] * m + (1 - decays[0]) * g, first, gradient)
        second = jax.tree.map(lambda v, g: decays[1] * v + (1 - decays[1]) * g**2, second, gradient)
        own["params"] = jax.tree.map(
            lambda w, m, v, t=step: (
                w
                - rate * (m / (1 - decays[0] ** t)) / (np.sqrt(v / (1 - decays[1] ** t)) + epsilon)
            ),
            own["params"],
            first,
            second,
        )
        own["batch_stats"] = mean["batch_stats"]
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), dict(server.weights), own
        )


def test_where_nothing_arrived_the_optimiser_does_not_step(trained):
    algorithm = updates(server=optax.adam(0.1))
    server, store = algorithm.init(weights(), CLIENTS)
    uploads = uploads_of(algorithm, server, store, trained)
    server = algorithm.aggregate(server, uploads, SAMPLES, SENDS)
    nothing = Message(jnp.full(CLIENTS, Kind.NOTHING, jnp.int32), uploads.sections)
    same = algorithm.aggregate(server, nothing, SAMPLES, SENDS)
    jax.tree.map(np.testing.assert_array_equal, same, server)


def test_an_objective_is_given_the_params_that_training_starts_from():
    held = updates(objective=algorithms.Objective(penalty=lambda params, start: 0.0))
    for algorithm, carries in ((held, True), (updates(), False)):
        server, store = algorithm.init(weights(), 1)
        message, server = algorithm.broadcast(server, SENDS, jax.random.key(0))
        stored = jax.tree.map(lambda x: x[0], store)
        start = algorithm.receive(stored, message, None)
        assert isinstance(start, Start)
        if carries:
            jax.tree.map(np.testing.assert_array_equal, start.carried, start.weights["params"])
        else:
            assert start.carried is None
