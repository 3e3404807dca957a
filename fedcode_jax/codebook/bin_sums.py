"""What is in each bin of a histogram, by scattering, which is the fastest on a CPU.

The values lie in rows of at most about a million, worked on row by row. That bounds the memory for
what lies between, and the rounding of long sums: a float32 that has grown to 2^24 no longer grows
by ones. Counts are integers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_ROW = 2**20


class Rows(NamedTuple):
    """Values in rows.

    Attributes:
      values: f32[rows, m], the last row filled up with infinity.
      weights: f32[rows, m], or None for equal weights.
    """

    values: jax.Array
    weights: jax.Array | None


class Tally(NamedTuple):
    """Of each bin the number of its values i32[B], their weight and their lowest f32[B].

    The lowest of an empty bin is infinite.
    """

    number: jax.Array
    mass: jax.Array
    low: jax.Array


def make_rows(values: jax.Array, weights: jax.Array | None) -> Rows:
    """Arranges f32[n] in rows."""
    rows = -(-values.size // _ROW)
    length = -(-values.size // rows)
    filling = (0, rows * length - values.size)
    values = jnp.pad(values, filling, constant_values=jnp.inf).reshape(rows, length)
    if weights is not None:
        weights = jnp.pad(weights, filling).reshape(rows, length)
    return Rows(values, weights)


def tally(rows: Rows, place: jax.Array, num_bins: int) -> Tally:
    """Counts the values of each bin.

    Args:
      rows: the values.
      place: i32[rows, m], the bin of each value, ascending with the value.
      num_bins: B.

    Returns:
      A tally of B bins.
    """

    def step(sums: Tally, row: tuple) -> tuple[Tally, None]:
        (values, weights), place = row
        number = sums.number.at[place].add(1, mode="drop")
        low = sums.low.at[place].min(values, mode="drop")
        more = None if weights is None else _scattered(weights, place, num_bins)
        return Tally(number, sums.mass if more is None else sums.mass + more, low), None

    zeros = jnp.zeros(num_bins)
    start = Tally(zeros.astype(jnp.int32), zeros, jnp.full(num_bins, jnp.inf))
    sums, _ = jax.lax.scan(step, start, (rows, place))
    if rows.weights is None:
        return sums._replace(mass=sums.number.astype(jnp.float32))
    return sums


def highest(rows: Rows, place: jax.Array, num_bins: int) -> jax.Array:
    """The highest value of each bin, f32[B]; of an empty one, minus infinity."""

    def step(high: jax.Array, row: tuple) -> tuple[jax.Array, None]:
        values, place = row
        return high.at[place].max(values, mode="drop"), None

    return jax.lax.scan(step, jnp.full(num_bins, -jnp.inf), (rows.values, place))[0]


def excess(rows: Rows, place: jax.Array, low: jax.Array) -> jax.Array:
    """The sum f32[B] of w (v - low) over the values of each bin; exactly 0 where all are alike."""

    def step(total: jax.Array, row: tuple) -> tuple[jax.Array, None]:
        (values, weights), place = row
        above = values - low.at[place].get(mode="clip")
        above = above if weights is None else above * weights
        return total + _scattered(above, place, low.size), None

    return jax.lax.scan(step, jnp.zeros_like(low), (rows, place))[0]


def _scattered(x: jax.Array, place: jax.Array, num_bins: int) -> jax.Array:
    return jnp.zeros(num_bins).at[place].add(x, mode="drop")
