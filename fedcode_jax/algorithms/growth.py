"""How many centers FedCompress uses: one more whenever its clients stop learning."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

WINDOW = 3
"""Rounds over which losses are averaged."""


class Growth(NamedTuple):
    """How many centers are in use, and by what.

    Attributes:
      clusters: i32[], K.
      first: i32[], K at first.
      since: i32[], rounds with this K.
      rounds: i32[], all rounds in which anything arrived.
      losses: f32[WINDOW + 1], of the last rounds, the latest first.
    """

    clusters: jax.Array
    first: jax.Array
    since: jax.Array
    rounds: jax.Array
    losses: jax.Array


def begun(clusters: int) -> Growth:
    """Before the first round, with so many centers."""
    K, none = jnp.int32(clusters), jnp.int32(0)
    return Growth(K, K, none, none, jnp.zeros(WINDOW + 1))


def heard(before: Growth, loss: jax.Array, limit: float, patience: int, most: int) -> Growth:
    """After a round.

    With l_t the mean over the last three rounds, or over those that there are: K <- K + 1 if

        l_{t-1} - l_t <= l_{t-1} limit / max(1, 2 (K - K_0))

    and K has been the same for ``patience`` rounds, this one among them.

    Args:
      before: before it.
      loss: f32[], the clients' mean.
      limit: the share of the loss by which it must fall for K to stay.
      patience: rounds that each K has at least.
      most: K_max.

    Returns:
      After it.

    Source: the authors' program of arXiv 2401.14211, whose figure is an accuracy.

    Example:
      >>> growth = begun(8)
      >>> for loss in (1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5):
      ...     growth = heard(growth, jnp.float32(loss), 0.01, 2, 30)
      ...     print(int(growth.clusters), end=" ")
      8 9 9 9 9 9 10
    """
    losses = jnp.concatenate([loss[None], before.losses[:-1]])
    rounds, since = before.rounds + 1, before.since + 1
    now, then = _mean(losses[:-1], rounds), _mean(losses[1:], rounds - 1)
    enough = limit * then / jnp.maximum(1, 2 * (before.clusters - before.first))
    grows = (rounds > 1) & (since >= patience) & (before.clusters < most) & (then - now <= enough)
    return Growth(
        before.clusters + grows,
        before.first,
        jnp.where(grows, 0, since),
        rounds,
        losses,
    )


def _mean(losses: jax.Array, rounds: jax.Array) -> jax.Array:
    """Over as many of the losses as there have been rounds."""
    there = jnp.arange(losses.size) < rounds
    return jnp.sum(jnp.where(there, losses, 0)) / jnp.clip(rounds, 1, losses.size)
