"""Krum: the change, or the mean of some changes, that is nearest to most of the others."""

import jax
import jax.numpy as jnp

from fedcode_jax.aggregation.base import (
    Aggregation,
    Combined,
    Moves,
    masked,
    squared_norms,
    usable,
    weighted_mean,
)
from fedcode_jax.limits import check_whole


def krum(hostile: int = 1) -> Aggregation:
    """Krum: the change of the one client whose nearest neighbours are nearest.

    ``multi_krum`` with one client chosen.

    Args:
      hostile: f, how many of the clients of a round may be hostile.

    Returns:
      The rule; its memory and work are those of ``multi_krum``.

    Raises:
      ConfigError: a number that is not allowed.

    Source: Blanchard et al., Machine learning with adversaries, NeurIPS 2017, section 4.

    Example:
      >>> moves = (jnp.array([[1.0], [1.1], [1.2], [50.0], [1.4]]),)
      >>> round(float(krum(1).combine(moves, jnp.ones(5), None)[0][0]), 3)
      1.1
    """
    return multi_krum(hostile, 1)


def multi_krum(hostile: int = 1, chosen: int = 3) -> Aggregation:
    """Multi-Krum: the mean change of the clients whose nearest neighbours are nearest.

    Of m clients, each is scored by the sum of squared distances, over all groups of the model
    together, to the m - f - 2 others that are nearest to it, at least to one; the mean is over
    those with the lowest scores, the shorter change first where scores are equal. Clients count
    alike, whatever their samples. A client with a value, or a norm, that is not finite counts as
    one of which nothing arrived.

    The guarantee of the paper needs 2 f + 2 < m; where fewer arrive, the rule does what it can.

    Args:
      hostile: f, how many of the clients of a round may be hostile.
      chosen: how many are averaged; all, where fewer arrive. More than m - f will have hostile
        ones among them.

    Returns:
      The rule; it holds M x M distances, whose computation is M^2 n products.

    Raises:
      ConfigError: a number that is not allowed.

    Source: Blanchard et al., Machine learning with adversaries, NeurIPS 2017, sections 4 and 5.

    Example:
      >>> moves = (jnp.array([[1.0], [1.1], [1.2], [50.0], [1.4]]),)
      >>> round(float(multi_krum(1, 3).combine(moves, jnp.ones(5), None)[0][0]), 3)
      1.1
    """
    check_whole("algorithm.aggregation.hostile", hostile, 0)
    check_whole("algorithm.aggregation.chosen", chosen, 1)

    def combine(moves: Moves, num_samples: jax.Array, key: jax.Array | None) -> Combined:
        kept = masked(moves, usable(moves, num_samples))
        sizes = squared_norms(kept)
        counts = usable((*moves, sizes[:, None]), num_samples)
        kept = masked(kept, counts)
        ranks = _ranks(_scores(_distances(kept), counts, hostile), sizes)
        best = counts & (ranks < chosen)
        return tuple(weighted_mean(values, best.astype(jnp.float32)) for values in kept)

    return Aggregation(combine)


def _distances(moves: Moves) -> jax.Array:
    """Squared distances between the clients, f32[M, M], equal both ways to the last bit."""
    highest = jax.lax.Precision.HIGHEST
    products = [jnp.einsum("mi,ni->mn", v, v, precision=highest) for v in moves]
    product = jnp.sum(jnp.stack(products), axis=0)
    sizes = jnp.diagonal(product)
    found = jnp.maximum(sizes[:, None] + sizes[None] - 2 * product, 0)
    return (found + found.T) / 2


def _scores(distances: jax.Array, counts: jax.Array, hostile: int) -> jax.Array:
    """The sum of the squared distances to the nearest others; infinite for who does not count."""
    M = counts.shape[0]
    others = counts[None] & ~jnp.eye(M, dtype=bool)
    number = jnp.sum(counts)
    near = jnp.minimum(jnp.maximum(number - hostile - 2, 1), number - 1)
    ordered = jnp.sort(jnp.where(others, distances, jnp.inf), axis=1)
    sums = jnp.sum(jnp.where(jnp.arange(M) < near, ordered, 0), axis=1)
    return jnp.where(counts, sums, jnp.inf)


def _ranks(scores: jax.Array, sizes: jax.Array) -> jax.Array:
    """The place of each client by its score, and by the size of its change among equals."""
    order = jnp.lexsort((sizes, scores))
    return jnp.zeros(scores.shape, jnp.int32).at[order].set(jnp.arange(scores.shape[0]))
