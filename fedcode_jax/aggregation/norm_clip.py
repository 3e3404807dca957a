"""Norm clipping: no client moves the mean further than a bound allows."""

import jax
import jax.numpy as jnp

from fedcode_jax.aggregation.base import (
    Aggregation,
    Combined,
    Moves,
    masked,
    scaled,
    squared_norms,
    usable,
    weighted_mean,
)
from fedcode_jax.aggregation.ranks import median
from fedcode_jax.limits import check_real


def norm_clip(bound: float | None = None) -> Aggregation:
    """The mean by samples of changes that are each scaled down to a norm of at most a bound.

        sum_i N_i min(1, b / |v_i|) v_i / sum_i N_i,   |v_i| over all groups of the model together

    A client with a value, or a norm, that is not finite counts as one of which nothing arrived. As
    the mean is by samples, a client that claims many has the weight of many.

    Args:
      bound: b, the largest L2 norm of a change; None: in each round the median of the norms of
        those that arrived, which half of the clients set among themselves.

    Returns:
      The rule.

    Raises:
      ConfigError: a ``bound`` that is not allowed.

    Source: Sun et al., arXiv 1911.07963, section 4; the median of norms as the bound: as the
    adaptive clipping of Andrew et al., arXiv 1905.03871, at the quantile 0.5, but of the round.

    Example:
      >>> moves = (jnp.array([[3.0, 4.0], [0.3, 0.4]]),)
      >>> [round(x, 3) for x in norm_clip(1.0).combine(moves, jnp.ones(2), None)[0].tolist()]
      [0.45, 0.6]
    """
    if bound is not None:
        check_real("algorithm.aggregation.bound", bound, 0, above=True)

    def combine(moves: Moves, num_samples: jax.Array, key: jax.Array | None) -> Combined:
        kept = masked(moves, usable(moves, num_samples))
        norms = jnp.sqrt(squared_norms(kept))
        counted = jnp.where(usable((*moves, norms[:, None]), num_samples), num_samples, 0.0)
        limit = jnp.float32(bound) if bound is not None else _middle(norms, counted)
        clipped = scaled(kept, jnp.minimum(1, limit / jnp.maximum(norms, _LEAST)))
        return tuple(weighted_mean(values, counted) for values in clipped)

    return Aggregation(combine)


_LEAST = 1e-30


def _middle(norms: jax.Array, counted: jax.Array) -> jax.Array:
    (found,) = median().combine((norms[:, None],), counted, None)
    return found[0]
