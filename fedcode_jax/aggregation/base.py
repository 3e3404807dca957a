"""What a rule of aggregation is: the clients' changes to the one that the server makes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Moves = tuple[jax.Array, ...]
"""Of each client the change that it asks for, by groups of the model: f32[M, n_g] each."""

Combined = tuple[jax.Array, ...]
"""The change that the server makes, by groups: f32[n_g] each."""


class Aggregation(NamedTuple):
    """A rule by which the server combines what the clients of a round have sent.

    Attributes:
      combine: (moves, num_samples, key) -> combined. Pure. ``moves`` are the clients' changes of
        the server's values, f32[M, n_g] for each group of the model that travels, all of a client
        at the same place; ``num_samples`` f32[M], 0 for a client of which nothing arrived, whatever
        its values are; the key is None unless the rule is ``random``. Gives f32[n_g] for each
        group; zeros, which leave the model as it is, where nobody counts.
      random: whether ``combine`` needs a key, another one in every round. Such a rule is heard in
        rounds of which nothing arrived, too.

    Example:
      >>> import jax.numpy as jnp
      >>> largest = Aggregation(lambda moves, num_samples, key: tuple(v.max(0) for v in moves))
      >>> largest.combine((jnp.array([[1.0, 2.0], [3.0, 0.0]]),), jnp.ones(2), None)[0].tolist()
      [3.0, 2.0]
    """

    combine: Callable[[Moves, jax.Array, jax.Array | None], Combined]
    random: bool = False


def weighted_mean(values: jax.Array, num_samples: jax.Array) -> jax.Array:
    """sum_i N_i v_i / sum_i N_i over the leading client axis.

    Args:
      values: f32[M, n].
      num_samples: f32[M], N_i; 0 for a client that does not count, whatever its values are.

    Returns:
      f32[n]; 0 where nobody counts.

    Example:
      >>> import jax.numpy as jnp
      >>> weighted_mean(jnp.array([[0.0, 1.0], [4.0, 1.0]]), jnp.array([3.0, 1.0])).tolist()
      [1.0, 1.0]
      >>> weighted_mean(jnp.array([[1.0, 2.0], [jnp.nan, 1.0]]), jnp.array([3.0, 0.0])).tolist()
      [1.0, 2.0]
    """
    total = jnp.sum(num_samples)
    shares = num_samples / jnp.where(total > 0, total, 1)
    counted = jnp.where((num_samples > 0)[:, None], values, 0)
    return jnp.einsum("m,mn->n", shares, counted, precision=jax.lax.Precision.HIGHEST)


def usable(moves: Moves, num_samples: jax.Array) -> jax.Array:
    """The clients whose change arrived and is finite in all of its values.

    Args:
      moves: as of ``Aggregation``.
      num_samples: f32[M], likewise.

    Returns:
      bool[M].

    Example:
      >>> moves = (jnp.array([[1.0], [jnp.nan], [2.0]]), jnp.zeros((3, 2)))
      >>> usable(moves, jnp.array([1.0, 1.0, 0.0])).tolist()
      [True, False, False]
    """
    found = num_samples > 0
    for values in moves:
        found &= jnp.all(jnp.isfinite(values), axis=1)
    return found


def masked(moves: Moves, counts: jax.Array, fill: float = 0.0) -> Moves:
    """The moves with all values of clients that do not count replaced."""
    return tuple(jnp.where(counts[:, None], values, fill) for values in moves)


def squared_norms(moves: Moves) -> jax.Array:
    """The squared L2 norm of each client's whole change, over all groups: f32[M]."""
    return jnp.sum(jnp.stack([jnp.sum(values**2, axis=1) for values in moves]), axis=0)


def scaled(moves: Moves, scales: jax.Array) -> Moves:
    """Each client's change times a number of its own, f32[M]."""
    return tuple(scales[:, None] * values for values in moves)
