"""FedDyn: clients' losses are regularised so that their optima meet at the common one."""

import jax
import jax.numpy as jnp

from fedcode_jax import schedules
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms import drift
from fedcode_jax.algorithms.base import (
    Algorithm,
    Carried,
    Objective,
    Start,
    Work,
)
from fedcode_jax.algorithms.combining import combined_moves
from fedcode_jax.algorithms.drift import Client, Server
from fedcode_jax.algorithms.layout import Weights
from fedcode_jax.limits import check_real
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Kind, Message


# Long: a closure for each verb, each of them short.
def feddyn(alpha: float = 0.01, aggregation: Aggregation | None = None) -> Algorithm:
    """FedDyn: dynamic regularisation, whose fixed points are those of the common loss.

    From x, client i of M heard ones, of C in all:

        y_i = argmin loss_i(y) - <g_i, y> + alpha / 2 |y - x|^2
        g_i <- g_i - alpha (y_i - x)
        h <- h - alpha / C sum_i (y_i - x),   x <- mean_i y_i - h / alpha

    The mean is over clients, as in the paper, not samples. Running statistics are averaged. A rule
    of aggregation takes the place of the means; h changes by what it makes of the changes, too.

    Args:
      alpha: how firmly clients are held, above 0; the paper's are 0.1, 0.01 and 0.001.
      aggregation: the rule; None for the means above. Not one that is ``random``.

    Returns:
      The algorithm; floats go both ways, and a client keeps g_i, 4 bytes a trained value.

    Raises:
      ConfigError: an ``alpha`` that is not allowed.

    Source: Acar et al., arXiv 2111.04263, algorithm 1.

    Example:
      >>> server, store = feddyn().init({"params": {"kernel": jnp.ones(3)}}, 10)
      >>> server.vector.tolist(), store.vector.shape
      ([0.0, 0.0, 0.0], (10, 3))
    """
    check_real("algorithm.alpha", alpha, 0, above=True)

    def broadcast(server: Server, exchange: Exchange, key: jax.Array) -> tuple[Message, Server]:
        vectors = drift.layout_of(server.weights).split(server.weights)
        return drift.message_of(Kind.WEIGHTS, vectors), server

    def receive(stored: Client, message: Message, common: None) -> Start:
        vectors = drift.vectors_of(message)
        anchors = (drift.tree_of(stored.layout, each) for each in (vectors[0], stored.vector))
        return Start(stored.layout.join(vectors), tuple(anchors))

    def penalty(params: Weights, carried: Carried) -> jax.Array:
        def of_leaf(p: jax.Array, x: jax.Array, g: jax.Array) -> jax.Array:
            return alpha / 2 * jnp.sum((p - x) ** 2) - jnp.sum(g * p)

        return jax.tree.reduce(jnp.add, jax.tree.map(of_leaf, params, *carried))

    def upload(
        stored: Client, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, Client]:
        moved = drift.change_of(stored.layout, work)
        return drift.message_of(Kind.UPDATE, moved), stored.plus(-alpha * moved[0])

    def lost(stored: Client, message: Message) -> Client:
        return stored.plus(alpha * drift.vectors_of(message)[0])

    def aggregate(
        server: Server, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> Server:
        layout, samples = drift.layout_of(server.weights), drift.counted(messages, num_samples)
        heard = (samples > 0).astype(jnp.float32)
        held = layout.split(server.weights)
        means = combined_moves(aggregation, drift.vectors_of(messages), heard)
        h = server.vector - alpha * means[0] * jnp.sum(heard) / server.clients
        after = [own + mean for own, mean in zip(held, means, strict=True)]
        after[0] = after[0] - h / alpha
        weights = jax.tree.map(
            lambda new, old: jnp.where(jnp.any(heard > 0), new, old),
            layout.join(after),
            server.weights,
        )
        return server._replace(weights=weights, vector=h)

    return Algorithm(
        *(drift.init, broadcast, receive, upload, aggregate, drift.report),
        schedule=schedules.always(),
        objective=Objective(penalty=penalty),
        lost=lost,
    )
