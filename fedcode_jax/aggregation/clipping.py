"""Clipping of whole changes to an L2 norm."""

import jax
import jax.numpy as jnp

from fedcode_jax.aggregation.base import Moves, squared_norms

_LEAST = 1e-30


def scales_to(moves: Moves, bound: float | jax.Array) -> jax.Array:
    """By what each client's whole change is multiplied to have a norm of at most a bound.

    Args:
      moves: f32[M, n_g] of each group.
      bound: the largest L2 norm, over all groups together.

    Returns:
      f32[M], min(1, bound / norm); 0 where the norm is not finite.

    Example:
      >>> scales_to((jnp.array([[3.0]]), jnp.array([[4.0]])), 2.5).tolist()
      [0.5]
    """
    norms = jnp.sqrt(squared_norms(moves))
    scales = jnp.minimum(1, bound / jnp.maximum(norms, _LEAST))
    return jnp.where(jnp.isfinite(norms), scales, 0)
