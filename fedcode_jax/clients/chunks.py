"""A client, or a chunk of clients side by side, from the first step to the last."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.algorithms.base import Objective, Start
from fedcode_jax.clients.batches import ClientData
from fedcode_jax.clients.local_step import Progress, Steps, where_each
from fedcode_jax.clients.training import ClientAxis, LocalTraining, Weights


class Trained(NamedTuple):
    """What local training gives, of one client or with a leading axis of c.

    Attributes:
      weights: the trained variables.
      steps: i32[], local steps made.
      loss: f32[], mean loss over all samples of all epochs.
    """

    weights: Weights
    steps: jax.Array
    loss: jax.Array


@randomness.standardised
def train(
    training: LocalTraining,
    axis: ClientAxis,
    starts: Start,
    data: ClientData,
    clients: jax.Array,
    keys: jax.Array,
    fixed: jax.Array | None = None,
    learning_rate: jax.Array | float = 1.0,
    *,
    max_size: int,
    objective: Objective = Objective(),
) -> Trained:
    """Trains one client (``map``) or a chunk of clients side by side (``vmap``).

    The loop runs to the largest step count among the clients given, a traced number; the
    state of a client that has finished is masked.

    Args:
      training: what a client does.
      axis: ``map``: the arguments below have no leading axis; ``vmap``: they have one of c.
      starts: the variables to start from (collections, ``params`` among them), and what the
        objective is given.
      data: the resident data.
      clients: i32[] or i32[c], rows of ``data``; -1 stands for none: no step is made.
      keys: the clients' keys of this round.
      fixed: bool[], whether batch norm keeps its running averages, or None; without an axis.
      learning_rate: f32[], for an optimiser that is a function of it; without an axis.
      max_size: the largest number of samples of any client, static.
      objective: how the algorithm shapes training, static.

    Returns:
      The trained variables and what is known of the training.
    """
    every = Steps(training, axis, data, fixed, learning_rate, max_size, objective)
    own = every.own(clients, keys)

    def step(index: jax.Array, now: Progress) -> Progress:
        new = every.after(now, own, starts.carried, index)
        if axis == "map":
            return new
        # A loss that is not counted is masked already.
        return where_each(index < own.steps, new, now)._replace(loss_sum=new.loss_sum)

    now = every.begun(starts.weights, keys)
    params, state, _, loss_sum = jax.lax.fori_loop(0, jnp.max(own.steps), step, now)
    return Trained({"params": params, **state}, own.steps, mean_loss(training, loss_sum, own.size))


def mean_loss(training: LocalTraining, loss_sum: jax.Array, sizes: jax.Array) -> jax.Array:
    """The mean loss over all samples of all epochs; 0 of a client without any."""
    return loss_sum / jnp.maximum(training.epochs * sizes, 1)
