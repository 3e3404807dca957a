"""A rule of aggregation in an algorithm: the mean where there is none, and the key of a round."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.aggregation import Aggregation, Combined, Moves, weighted_mean

_PURPOSE = 0x6167_6772  # among the keys that are folded from that of a broadcast


def combined_moves(
    aggregation: Aggregation | None,
    moves: Moves,
    num_samples: jax.Array,
    key: jax.Array | None = None,
) -> Combined:
    """The clients' changes combined by a rule; by their mean by samples where it is None.

    Args:
      aggregation: the rule.
      moves: f32[M, n_g] of each group.
      num_samples: f32[M], 0 for a client that does not count.
      key: u32[...], the data of a key, as of ``key_of``.

    Returns:
      f32[n_g] of each group.

    Example:
      >>> moves = (jnp.array([[0.0], [4.0]]),)
      >>> combined_moves(None, moves, jnp.array([3.0, 1.0]))[0].tolist()
      [1.0]
    """
    if aggregation is None:
        return tuple(weighted_mean(values, num_samples) for values in moves)
    drawn = None if key is None else jax.random.wrap_key_data(key, impl=randomness.IMPLEMENTATION)
    return aggregation.combine(moves, num_samples, drawn)


def moved_by(
    aggregation: Aggregation,
    held: Sequence[jax.Array],
    sent: Sequence[jax.Array],
    num_samples: jax.Array,
) -> list[jax.Array]:
    """The server's values after a rule was given what the clients' are more than these.

    Args:
      aggregation: the rule, not ``random``.
      held: the server's values, f32[n_g] of each group.
      sent: the clients', f32[M, n_g].
      num_samples: f32[M], 0 for a client that does not count.

    Returns:
      f32[n_g] of each group.

    Example:
      >>> from fedcode_jax import aggregation
      >>> sent = jnp.array([[1.0], [2.0], [9.0]])
      >>> moved_by(aggregation.median(), [jnp.array([1.5])], [sent], jnp.ones(3))[0].tolist()
      [2.0]
    """
    moves = tuple(values - own for own, values in zip(held, sent, strict=True))
    found = combined_moves(aggregation, moves, num_samples)
    return [own + move for own, move in zip(held, found, strict=True)]


def key_of(aggregation: Aggregation | None, key: jax.Array) -> jax.Array | None:
    """What the server keeps from its broadcast for the aggregation of the same round.

    Args:
      aggregation: the rule.
      key: of the broadcast.

    Returns:
      u32[...], the data of another key; None where the rule needs none.

    Example:
      >>> from fedcode_jax import aggregation
      >>> key_of(aggregation.median(), randomness.key(0)) is None
      True
    """
    if aggregation is None or not aggregation.random:
        return None
    return jax.random.key_data(jax.random.fold_in(key, _PURPOSE))


def first_key(aggregation: Aggregation | None) -> jax.Array | None:
    """What stands in the place of ``key_of`` before the first broadcast."""
    return key_of(aggregation, randomness.key(0))


def is_heard(aggregation: Aggregation | None, counted: jax.Array) -> jax.Array:
    """Whether a round changes the server: somebody was heard, or the rule is random: bool[]."""
    return jnp.any(counted > 0) | (aggregation is not None and aggregation.random)
