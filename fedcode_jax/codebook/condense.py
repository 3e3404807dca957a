"""Atoms: the values condensed to ascending points with weights.

Optimal one-dimensional clusters are intervals, so all that k-means needs of n values is their
order. On a CPU, up to some thousand values, the atoms are the distinct values. Above, sorting would
cost more than everything else, and the atoms are the means of fine bins that adapt to the data (see
`histogram`). With weights this begins earlier: XLA sorts pairs six times slower on a CPU. On
accelerators sorting is cheap, and the bins are runs of sorted values (see `sorted_bins`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.bin_sums import make_rows
from fedcode_jax.codebook.histogram import bin_values
from fedcode_jax.codebook.numerics import prefix_sum, sort_floats
from fedcode_jax.codebook.sorted_bins import bin_sorted
from fedcode_jax.targets import CPU


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


_SORT_UP_TO = 16384  # values; above, binning is faster on CPU
_SORT_WEIGHTED_UP_TO = 1024
_SORT_FROM_CLUSTERS = 4096  # so many cells want more bins than there is room for
_BINS_PER_CELL = 128
_COUNTED_BY_FLOATS = 2**24  # above, they no longer count by ones


def condense(values: jax.Array, weights: jax.Array | None, num_clusters: int, target: str) -> Atoms:
    """The atoms of values, fine enough for a codebook of K centers.

    Args:
      values: f32[n]; those that are closer to zero than float32's least normal number count as 0.
      weights: f32[n] >= 0, the greatest from 0.5 to 1, or None for ones. Values of zero weight are
        left out.
      num_clusters: K; if there are no more distinct values than this, every atom is exactly one.
      target: the kind of machine.

    Returns:
      Atoms.
    """
    # One zero, whatever its sign; and what CPUs and TPUs flush to it is zero everywhere.
    values = jnp.where(jnp.abs(values) < jnp.finfo(jnp.float32).tiny, 0, values)
    if weights is not None:
        # A value of no weight stands where another one does: it may not open a bin of its own.
        values = jnp.where(weights > 0, values, jnp.max(jnp.where(weights > 0, values, -jnp.inf)))
    num_bins = 2 ** min(max((_BINS_PER_CELL * num_clusters - 1).bit_length(), 14), 17)
    wants_all = num_clusters >= _SORT_FROM_CLUSTERS
    if target != CPU:
        most = values.size if wants_all else num_bins
        return Atoms(*bin_sorted(values, weights, most, target))
    most = _SORT_UP_TO if weights is None else _SORT_WEIGHTED_UP_TO
    if values.size <= most or wants_all:
        return sorted_atoms(values, weights)
    return binned_atoms(values, weights, num_bins, num_clusters)


def sorted_atoms(values: jax.Array, weights: jax.Array | None) -> Atoms:
    """The distinct values, each with the weight of its copies, as a CPU finds them.

    Args:
      values: f32[n].
      weights: f32[n], positive, or 0 on copies of some value of positive weight; None for ones.

    Returns:
      Atoms with A = n.
    """
    if weights is None:
        values = sort_floats(values)
    else:
        values, weights = jax.lax.sort((values, weights), num_keys=1)
    is_new = jnp.concatenate([jnp.ones(1, bool), values[1:] != values[:-1]])
    if values.size < _COUNTED_BY_FLOATS:
        group = prefix_sum(is_new.astype(jnp.float32), CPU)[1:].astype(jnp.int32) - 1
    else:
        group = jnp.cumsum(is_new, dtype=jnp.int32) - 1
    positions = jnp.full_like(values, values[-1]).at[group].set(values, indices_are_sorted=True)
    if weights is None:
        counts = jnp.zeros(values.size, jnp.int32).at[group].add(1, indices_are_sorted=True)
        sums = counts.astype(jnp.float32)
    else:
        sums = jnp.zeros_like(weights).at[group].add(weights, indices_are_sorted=True)
    return Atoms(positions, sums, group[-1] + 1)


def binned_atoms(
    values: jax.Array, weights: jax.Array | None, num_bins: int, num_clusters: int
) -> Atoms:
    """The means of the occupied bins of an adaptive histogram, as a CPU fills it.

    Args:
      values: f32[n].
      weights: f32[n], positive, or 0 on copies of some value of positive weight; None for ones.
      num_bins: how many bins, A.
      num_clusters: if there are no more distinct values than this, every atom is exactly one.

    Returns:
      Atoms with A = num_bins or n, the lower.
    """
    bins, above = bin_values(make_rows(values, weights), num_bins, num_clusters)
    size = min(num_bins, values.size)
    occupied = bins.number > 0
    rank = prefix_sum(occupied.astype(jnp.float32), CPU).astype(jnp.int32)
    number = rank[-1]
    # Bins that are empty have places beyond the end, all different.
    target = jnp.where(occupied, rank[:-1], size + jnp.arange(num_bins))

    def close_up(x: jax.Array, fill: float) -> jax.Array:
        return jnp.full(size, fill, x.dtype).at[target].set(x, mode="drop", unique_indices=True)

    # Rounding may carry a mean past the next bin's lowest value.
    low = close_up(bins.low, jnp.inf)
    means = jnp.minimum(low + close_up(above, 0), jnp.append(low[1:], jnp.inf))
    means = jnp.where(jnp.arange(size) < number, means, means[number - 1])
    return Atoms(means, close_up(bins.mass, 0), number)
