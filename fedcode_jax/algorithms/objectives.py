"""How local training is shaped by what clients start from."""

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms.base import Objective
from fedcode_jax.algorithms.layout import Weights
from fedcode_jax.limits import check_real


def proximal(mu: float = 0.01) -> Objective:
    """FedProx: mu / 2 |params - start|^2 is added to the loss of every local step.

    Args:
      mu: how firmly clients are held, above 0.

    Returns:
      The objective; its ``carried`` is the params that a client starts from.

    Raises:
      ConfigError: a ``mu`` that is not allowed.

    Source: Li et al., arXiv 1812.06127, algorithm 2.

    Example:
      >>> penalty = proximal(0.5).penalty
      >>> float(penalty({"kernel": jnp.array([1.0, 3.0])}, {"kernel": jnp.array([1.0, 1.0])}))
      1.0
    """
    check_real("algorithm.proximal", mu, 0, above=True)

    def penalty(params: Weights, start: Weights) -> jax.Array:
        squares = jax.tree.map(lambda p, s: jnp.sum((p - s) ** 2), params, start)
        return mu / 2 * jax.tree.reduce(jnp.add, squares)

    return Objective(penalty=penalty)
