"""The mean by samples: FedAvg's rule."""

import jax

from fedcode_jax.aggregation.base import Aggregation, Combined, Moves, weighted_mean


def mean() -> Aggregation:
    """The mean change by samples, sum_i N_i v_i / sum_i N_i: one client can move it anywhere.

    Algorithms do the same without this rule, in parts that need less memory: what they are given
    by default is None.

    Returns:
      The rule.

    Source: McMahan et al., arXiv 1602.05629, algorithm 1.

    Example:
      >>> import jax.numpy as jnp
      >>> moves = (jnp.array([[0.0], [4.0]]),)
      >>> mean().combine(moves, jnp.array([3.0, 1.0]), None)[0].tolist()
      [1.0]
    """

    def combine(moves: Moves, num_samples: jax.Array, key: jax.Array | None) -> Combined:
        return tuple(weighted_mean(values, num_samples) for values in moves)

    return Aggregation(combine)
