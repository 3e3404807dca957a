"""SCAFFOLD: control variates take the clients' drift out of every local step."""

import jax
import jax.numpy as jnp

from fedcode_jax import schedules
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms import drift
from fedcode_jax.algorithms.base import (
    Algorithm,
    At,
    Carried,
    Objective,
    Start,
    Work,
)
from fedcode_jax.algorithms.combining import combined_moves
from fedcode_jax.algorithms.drift import Client, Server
from fedcode_jax.algorithms.layout import Weights
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Kind, Message


# Long: a closure for each verb, each of them short.
def scaffold(aggregation: Aggregation | None = None) -> Algorithm:
    """SCAFFOLD, option II: every local step is corrected by c - c_i, the drift of its client.

    With T steps of learning rate r from x, and y_i where they end:

        y_i <- y_i - r (g_i(y_i) - c_i + c)
        c_i <- c_i - c + (x - y_i) / (T r)
        x <- x + sum_i N_i (y_i - x) / sum_i N_i,   c <- c + sum_i (change of c_i) / C

    Both ways go two vectors of floats. The optimiser must be SGD: of any other, (x - y_i) / (T r)
    is no mean gradient. The paper's mean over the clients of a round is weighted by samples here,
    as that of FedAvg. Running statistics are averaged. A rule of aggregation is given the changes
    of the weights together, and those of the control variates by themselves: c changes by what it
    makes of the latter, times the share of the C clients that were heard.

    Args:
      aggregation: the rule; None for the means above. Not one that is ``random``.

    Returns:
      The algorithm; a client keeps c_i, 4 bytes a trained value.

    Source: Karimireddy et al., arXiv 1910.06378, algorithm 1.

    Example:
      >>> server, store = scaffold().init({"params": {"kernel": jnp.ones(3)}}, 10)
      >>> server.vector.tolist(), store.vector.shape
      ([0.0, 0.0, 0.0], (10, 3))
    """

    def broadcast(server: Server, exchange: Exchange, key: jax.Array) -> tuple[Message, Server]:
        vectors = drift.layout_of(server.weights).split(server.weights)
        return drift.message_of(Kind.WEIGHTS, (server.vector, *vectors)), server

    def receive(stored: Client, message: Message, common: None) -> Start:
        control, *vectors = drift.vectors_of(message)
        correction = drift.tree_of(stored.layout, control - stored.vector)
        return Start(stored.layout.join(vectors), (correction, control))

    def gradient(grads: Weights, params: Weights, carried: Carried, at: At) -> Weights:
        return jax.tree.map(jnp.add, grads, carried[0])

    def upload(
        stored: Client, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, Client]:
        moved = drift.change_of(stored.layout, work)
        total = jnp.maximum(work.steps, 1) * work.learning_rate
        change = -work.start.carried[1] - moved[0] / total
        message = drift.message_of(Kind.UPDATE, (change, *moved))
        return message, stored.plus(change)

    def lost(stored: Client, message: Message) -> Client:
        return stored.plus(-drift.vectors_of(message)[0])

    def aggregate(
        server: Server, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> Server:
        layout, heard = drift.layout_of(server.weights), drift.counted(messages, num_samples)
        changes, *moves = drift.vectors_of(messages)
        held = layout.split(server.weights)
        found = combined_moves(aggregation, tuple(moves), heard)
        vectors = [own + move for own, move in zip(held, found, strict=True)]
        control = server.vector + change_of_control(changes, heard) / server.clients
        return server._replace(weights=layout.join(vectors), vector=control)

    def change_of_control(changes: jax.Array, heard: jax.Array) -> jax.Array:
        if aggregation is None:
            return jnp.sum(jnp.where((heard > 0)[:, None], changes, 0), axis=0)
        (found,) = combined_moves(aggregation, (changes,), heard)
        return found * jnp.sum(heard > 0)

    return Algorithm(
        *(drift.init, broadcast, receive, upload, aggregate, drift.report),
        schedule=schedules.always(),
        objective=Objective(gradient=gradient),
        lost=lost,
    )
