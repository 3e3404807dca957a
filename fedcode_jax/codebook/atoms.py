"""Atoms: the values condensed to ascending points with weights.

Optimal one-dimensional clusters are intervals, so all that k-means needs of n values is their
order. Up to a few thousand values the atoms are the distinct values. Above, sorting would cost
more than everything else, and the atoms are the means of fine bins that adapt to the data (see
`zoom`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.numerics import prefix_sum
from fedcode_jax.codebook.zoom import bin_values


class Atoms(NamedTuple):
    """Distinct points with weights.

    Attributes:
      positions: f32[A], ascending; entries from ``number`` on repeat the last point.
      weights: f32[A], positive; 0 from ``number`` on.
      number: i32[], how many there are.
    """

    positions: jax.Array
    weights: jax.Array
    number: jax.Array


def sorted_atoms(values: jax.Array, weights: jax.Array) -> Atoms:
    """The distinct values, each with the weight of its copies.

    Args:
      values: f32[n].
      weights: f32[n], positive, or 0 on copies of some value of positive weight.

    Returns:
      Atoms with A = n.
    """
    values, weights = jax.lax.sort((values, weights), num_keys=1)
    is_new = jnp.concatenate([jnp.ones(1, bool), values[1:] != values[:-1]])
    group = jnp.cumsum(is_new, dtype=jnp.int32) - 1
    positions = jnp.full_like(values, values[-1]).at[group].set(values)
    return Atoms(positions, jnp.zeros_like(weights).at[group].add(weights), group[-1] + 1)


def binned_atoms(values: jax.Array, weights: jax.Array, num_bins: int, num_clusters: int) -> Atoms:
    """The means of the occupied bins of an adaptive histogram.

    Args:
      values: f32[n].
      weights: f32[n], positive, or 0 on copies of some value of positive weight.
      num_bins: how many bins, A.
      num_clusters: if there are no more distinct values than this, every atom is exactly one.

    Returns:
      Atoms with A = num_bins or n, the lower.
    """
    means, mass = bin_values(values, weights, num_bins, num_clusters)
    occupied = mass > 0
    rank = prefix_sum(occupied.astype(jnp.float32)).astype(jnp.int32)
    target = jnp.where(occupied, rank[:-1], num_bins)
    size = min(num_bins, values.size)
    last = jnp.max(jnp.where(occupied, means, -jnp.inf))
    positions = jnp.full(size, last).at[target].set(means, mode="drop")
    return Atoms(positions, jnp.zeros(size).at[target].set(mass, mode="drop"), rank[-1])
