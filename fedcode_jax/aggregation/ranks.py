"""Rules by the rank of values, coordinate by coordinate: the median, and the trimmed mean."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.aggregation.base import Aggregation, Combined, Moves, masked, usable
from fedcode_jax.limits import check_real


def median() -> Aggregation:
    """Of each coordinate the median over the clients: fewer than half of them cannot move it far.

    All clients count alike, whatever their samples. Of an even number it is the mean of the two in
    the middle. A client with a value that is not finite counts as one of which nothing arrived.

    Returns:
      The rule; it sorts M values a coordinate.

    Source: Yin et al., arXiv 1803.01498, algorithm 1, option I.

    Example:
      >>> moves = (jnp.array([[1.0], [100.0], [3.0], [2.0]]),)
      >>> median().combine(moves, jnp.ones(4), None)[0].tolist()
      [2.5]
    """

    def combine(moves: Moves, num_samples: jax.Array, key: jax.Array | None) -> Combined:
        counts = usable(moves, num_samples)
        number = jnp.sum(counts)
        low, high = jnp.maximum(number - 1, 0) // 2, number // 2

        def middle(values: jax.Array) -> jax.Array:
            ordered = jnp.sort(values, axis=0)
            return jnp.where(number > 0, (ordered[low] + ordered[high]) / 2, 0.0)

        return tuple(map(middle, masked(moves, counts, jnp.inf)))

    return Aggregation(combine)


def trimmed_mean(share: float = 0.1) -> Aggregation:
    """Of each coordinate the mean of what is left when the extremes are cut off on both sides.

    Of m clients the floor(share m) lowest and as many highest values do not count, whoever sent
    them; the others count alike, whatever their samples. A client with a value that is not finite
    counts as one of which nothing arrived.

    Args:
      share: of the clients, cut off on each side: at least that of the hostile ones, below 0.5; of
        fewer than 1 / share clients nothing is cut off.

    Returns:
      The rule; it sorts M values a coordinate.

    Raises:
      ConfigError: a ``share`` that is not allowed.

    Source: Yin et al., arXiv 1803.01498, algorithm 1, option II.

    Example:
      >>> moves = (jnp.array([[1.0], [100.0], [3.0], [2.0]]),)
      >>> trimmed_mean(0.25).combine(moves, jnp.ones(4), None)[0].tolist()
      [2.5]
    """
    share = check_real("algorithm.aggregation.share", share, 0, 0.49)

    def combine(moves: Moves, num_samples: jax.Array, key: jax.Array | None) -> Combined:
        counts = usable(moves, num_samples)
        M = num_samples.shape[0]
        # A table: in float32 the product can fall below the whole number that it is.
        cut = jnp.asarray(np.array([math.floor(share * m + 1e-9) for m in range(M + 1)], np.int32))
        number = jnp.sum(counts)
        ranks = jnp.arange(M)
        stays = (ranks >= cut[number]) & (ranks < number - cut[number])
        left = jnp.maximum(number - 2 * cut[number], 1)

        def middle(values: jax.Array) -> jax.Array:
            ordered = jnp.sort(values, axis=0)
            return jnp.sum(jnp.where(stays[:, None], ordered, 0), axis=0) / left

        return tuple(map(middle, masked(moves, counts, jnp.inf)))

    return Aggregation(combine)
