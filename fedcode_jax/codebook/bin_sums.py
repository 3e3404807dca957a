"""Tallies of values by bin, by scattering or by sorting: each backend does one of them well.

Scattering is the fastest on a CPU, and slow or not repeatable on accelerators, where sorting is
cheap: there a bin is a run of sorted values, found by binary search and summed by running sums.

The values lie in rows of at most about a million, tallied row by row. That bounds the memory for
what lies between, and the rounding of long sums: a float32 that has grown to 2^24 no longer grows
by ones. Counts are integers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.numerics import count_below, prefix_sum
from fedcode_jax.targets import here

_ROW = 2**20


class Rows(NamedTuple):
    """Values in rows.

    Attributes:
      values: f32[rows, m], the last row filled up with infinity; ascending in each row if tallies
        are by sorting.
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


def best_method() -> str:
    """How the present backend tallies best: ``scatter`` or ``sort``."""
    return "scatter" if (here() == "cpu") else "sort"


def make_rows(values: jax.Array, weights: jax.Array | None, method: str) -> Rows:
    """Arranges f32[n] in rows."""
    rows = -(-values.size // _ROW)
    length = -(-values.size // rows)
    filling = (0, rows * length - values.size)
    values = jnp.pad(values, filling, constant_values=jnp.inf).reshape(rows, length)
    if weights is not None:
        weights = jnp.pad(weights, filling).reshape(rows, length)
    if method == "scatter":
        return Rows(values, weights)
    if weights is None:
        return Rows(jax.lax.sort(values), None)
    return Rows(*jax.lax.sort((values, weights), num_keys=1))


def tally(rows: Rows, place: jax.Array, num_bins: int, method: str) -> Tally:
    """Counts the values of each bin.

    Args:
      rows: the values.
      place: i32[rows, m], the bin of each value, ascending with the value.
      num_bins: B.
      method: ``scatter`` or ``sort``.

    Returns:
      A tally of B bins.
    """

    def step(sums: Tally, row: tuple) -> tuple[Tally, None]:
        (values, weights), place = row
        if method == "scatter":
            number = sums.number.at[place].add(1, mode="drop")
            low = sums.low.at[place].min(values, mode="drop")
            more = None if weights is None else _scattered(weights, place, num_bins)
        else:
            runs = _runs(place, num_bins)
            number = sums.number + jnp.diff(runs)
            first = values.at[runs[:-1]].get(mode="fill", fill_value=jnp.inf)
            low = jnp.minimum(sums.low, jnp.where(runs[1:] > runs[:-1], first, jnp.inf))
            more = None if weights is None else _summed(weights, runs)
        return Tally(number, sums.mass if more is None else sums.mass + more, low), None

    zeros = jnp.zeros(num_bins)
    start = Tally(zeros.astype(jnp.int32), zeros, jnp.full(num_bins, jnp.inf))
    sums, _ = jax.lax.scan(step, start, (rows, place))
    if rows.weights is None:
        return sums._replace(mass=sums.number.astype(jnp.float32))
    return sums


def highest(rows: Rows, place: jax.Array, num_bins: int, method: str) -> jax.Array:
    """The highest value of each bin, f32[B]; of an empty one, minus infinity."""

    def step(high: jax.Array, row: tuple) -> tuple[jax.Array, None]:
        values, place = row
        if method == "scatter":
            return high.at[place].max(values, mode="drop"), None
        runs = _runs(place, num_bins)
        last = values[jnp.maximum(runs[1:] - 1, 0)]
        return jnp.maximum(high, jnp.where(runs[1:] > runs[:-1], last, -jnp.inf)), None

    return jax.lax.scan(step, jnp.full(num_bins, -jnp.inf), (rows.values, place))[0]


def excess(rows: Rows, place: jax.Array, low: jax.Array, method: str) -> jax.Array:
    """The sum f32[B] of w (v - low) over the values of each bin; exactly 0 where all are alike."""

    def step(total: jax.Array, row: tuple) -> tuple[jax.Array, None]:
        (values, weights), place = row
        above = values - low.at[place].get(mode="clip")
        if method == "scatter":
            above = above if weights is None else above * weights
            return total + _scattered(above, place, low.size), None
        runs = _runs(place, low.size)
        # In units of the bin's width, so that wide bins do not round away what narrow ones hold.
        width = values[jnp.maximum(runs[1:] - 1, 0)] - low
        width = jnp.where((runs[1:] > runs[:-1]) & (width > 0), width, 0)
        share = above / jnp.maximum(width.at[place].get(mode="clip"), jnp.finfo(jnp.float32).tiny)
        share = jnp.minimum(share, 1) * (1 if weights is None else weights)
        return total + width * jnp.maximum(_summed(share, runs), 0), None

    return jax.lax.scan(step, jnp.zeros_like(low), (rows, place))[0]


def _scattered(x: jax.Array, place: jax.Array, num_bins: int) -> jax.Array:
    return jnp.zeros(num_bins).at[place].add(x, mode="drop")


def _runs(place: jax.Array, num_bins: int) -> jax.Array:
    """Where each bin's run of sorted values begins, i32[B + 1]."""
    return count_below(place, jnp.arange(num_bins + 1, dtype=jnp.int32))


def _summed(x: jax.Array, runs: jax.Array) -> jax.Array:
    return jnp.diff(prefix_sum(x)[runs])
