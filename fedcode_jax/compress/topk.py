"""Top-k: the largest values alone, with their positions."""

import math

import jax
import jax.numpy as jnp

from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.limits import check_real
from fedcode_jax.wire import Dense, Sparse


def topk(fraction: float = 0.01) -> Compressor:
    """The k values of largest magnitude, k = ceil(fraction n), as float32 with their positions.

    Args:
      fraction: of the values that are sent, above 0 and at most 1.

    Returns:
      The compressor. It is biased: wrap it in ``error_feedback``.

    Raises:
      ConfigError: another fraction.

    Source: Stich, Cordonnier and Jaggi, arXiv 1809.07599.

    Example:
      >>> vector = jnp.array([0.1, -5.0, 0.0, 2.0])
      >>> section, _ = topk(fraction=0.5).compress(None, vector, jax.random.key(0))
      >>> section.positions.tolist(), section.values.values.tolist()
      ([1, 3], [-5.0, 2.0])
    """
    check_real("compressor.fraction", fraction, 0, 1, above=True)

    def compress(vector: jax.Array, key: jax.Array) -> Sparse:
        positions = largest(vector, fraction)
        return Sparse(positions, Dense(vector[positions]), vector.size)

    return stateless(compress)


def largest(vector: jax.Array, fraction: float) -> jax.Array:
    """Where the k values of largest magnitude are, ascending: i32[k], k = ceil(fraction n)."""
    k = max(1, math.ceil(fraction * vector.size - 1e-6))
    _, positions = jax.lax.top_k(jnp.abs(vector), k)
    return jnp.sort(positions).astype(jnp.int32)
