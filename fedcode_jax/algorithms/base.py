"""What an algorithm is: the verbs of a round, as pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms.groups import Weights
from fedcode_jax.schedules import Exchange, Schedule
from fedcode_jax.wire import Array, Message

ServerState = Any
Stored = Any


class Algorithm(NamedTuple):
    """A federated algorithm: pure functions, as an optax transformation is a pair of them.

        server --broadcast--> client --receive--> [local training] --upload--> server
               --aggregate--> next round

    Attributes:
      init: (weights, num_clients) -> (server state, store). Once. The store holds what every
        client keeps between rounds, with a leading client axis.
      broadcast: (server state, exchange, key) -> (message, server state). Once a round.
      receive: (stored, message) -> weights. Per client, vmapped: the weights it starts from.
      upload: (stored, trained weights, starting weights, exchange, key) -> (message, stored).
        Per client, vmapped.
      aggregate: (server state, messages, sample counts f32[M], exchange) -> server state.
        Once a round; the messages have a leading axis of the M clients in the round. Their kinds
        say what arrived of each: not all need be what the exchange asked for, and one that was
        lost is of kind NOTHING.
      report: (server state, store) -> (weights, deployed). The models to evaluate, with a
        leading axis over which figures are averaged: the server's own, and the one that
        clients would receive; None for ``deployed`` where the two are the same.
      schedule: the schedule that the algorithm brings with it, or None to follow the run's.
    """

    init: Callable[[Weights, int], tuple[ServerState, Stored]]
    broadcast: Callable[[ServerState, Exchange, jax.Array], tuple[Message, ServerState]]
    receive: Callable[[Stored, Message], Weights]
    upload: Callable[[Stored, Weights, Weights, Exchange, jax.Array], tuple[Message, Stored]]
    aggregate: Callable[[ServerState, Message, jax.Array, Exchange], ServerState]
    report: Callable[[ServerState, Stored], tuple[Weights, Weights | None]]
    schedule: Schedule | None = None


def weighted_mean(values: Array, num_samples: jax.Array) -> jax.Array:
    """sum_i N_i v_i / sum_i N_i over the leading client axis.

    Args:
      values: f32[M, n].
      num_samples: f32[M], N_i; 0 for a client that does not count.

    Returns:
      f32[n]; 0 where nobody counts.

    Example:
      >>> import jax.numpy as jnp
      >>> weighted_mean(jnp.array([[0.0, 1.0], [4.0, 1.0]]), jnp.array([3.0, 1.0])).tolist()
      [1.0, 1.0]
    """
    total = jnp.sum(num_samples)
    shares = num_samples / jnp.where(total > 0, total, 1)
    return jnp.einsum("m,mn->n", shares, values, precision=jax.lax.Precision.HIGHEST)


def one(weights: Weights) -> Weights:
    """A single model as ``Algorithm.report`` gives it, with a leading axis of 1."""
    return jax.tree.map(lambda leaf: leaf[None], weights)
