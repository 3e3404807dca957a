"""An adaptive histogram: fine bins where an optimal codebook will have its fine cells.

Uniform bins fail on far outliers and on values of many magnitudes. Two passes do not. The first
bins the values by the leading bits of their float representation, which resolves every magnitude
alike, and notes each bin's weight w_b and its extent h_b. The second cuts each of these bins into
equal parts, their number proportional to w_b^(1/3) h_b^(2/3): the number of centers that an
optimal codebook puts there (the point density f^(1/3) of Panter and Dite, 1951, and Bennett,
1948). Where most parts stay empty, as around narrow modes, the occupied ones are cut again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.bin_sums import Rows, Tally, excess, highest, tally
from fedcode_jax.codebook.numerics import cube_root, prefix_sum
from fedcode_jax.targets import CPU

_COARSE_BITS = 12
_MOST_PASSES = 8
_STEEPEST = 3e38  # parts in a unit of width: infinitely many times none would be not a number


class _Zoom(NamedTuple):
    """The bin of each value, what is in the bins, and how far this has come."""

    place: jax.Array
    tally: Tally
    excess: jax.Array
    passes: jax.Array
    again: jax.Array


def bin_values(rows: Rows, num_bins: int, num_clusters: int) -> tuple[Tally, jax.Array]:
    """Bins the values.

    If no more than ``num_clusters`` bins turn out to be occupied, they are cut until each holds
    copies of one value only (or more bins are occupied), so that few distinct values are found
    exactly.

    Args:
      rows: the values.
      num_bins: B, at least twice 4096 and twice ``num_clusters``.
      num_clusters: see above.

    Returns:
      The bins, in the order of their values, and f32[B] how far the mean of each lies above its
      lowest value.
    """
    enough = jnp.maximum(min(num_bins, rows.values.size) // 4, num_clusters + 1)

    def cut(carry: _Zoom) -> _Zoom:
        high = highest(rows, carry.place, num_bins)
        place = _subdivide(rows.values, carry.place, carry.tally, high)
        bins = tally(rows, place, num_bins)
        above = excess(rows, place, bins.low)
        # Sums of floats, because XLA compiles those of integers to several times the code.
        sparse = jnp.sum((bins.number > 0) * 1.0) < enough
        again = sparse & (jnp.max(above) > 0) & (carry.passes < _MOST_PASSES)
        return _Zoom(place, bins, above, carry.passes + 1, again)

    place = _place_by_magnitude(rows.values, num_bins)
    bins = tally(rows, place, num_bins)
    start = _Zoom(place, bins, jnp.zeros(num_bins), jnp.int32(1), jnp.bool_(True))
    found = jax.lax.while_loop(lambda carry: carry.again, cut, start)
    mass = found.tally.mass
    return found.tally, found.excess / jnp.where(mass > 0, mass, 1)


def _place_by_magnitude(values: jax.Array, num_bins: int) -> jax.Array:
    """Bins by the leading bits of the float's rank among all floats between the extremes."""
    real = values < jnp.inf
    lowest = _rank(jnp.min(values))
    extent = _rank(jnp.max(jnp.where(real, values, -jnp.inf))) - lowest
    used = 32 - jax.lax.clz(extent).astype(jnp.int32)
    shift = jnp.maximum(used - _COARSE_BITS, 0).astype(jnp.uint32)
    place = ((_rank(values) - lowest) >> shift).astype(jnp.int32)
    return jnp.where(real, jnp.clip(place, 0, num_bins - 1), num_bins)


def _rank(values: jax.Array) -> jax.Array:
    """Ascends by one from each float to the next, negative ones included; u32."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    return jax.lax.bitcast_convert_type(bits ^ ((bits >> 31) & 0x7FFFFFFF), jnp.uint32)


def _subdivide(values: jax.Array, place: jax.Array, bins: Tally, high: jax.Array) -> jax.Array:
    """Cuts each bin of different values into equal parts, more where an optimum has more centers.

    Args:
      values: f32[rows, m].
      place: i32[rows, m], their bins.
      bins: the bins' tally, B of them.
      high: f32[B], their highest values.

    Returns:
      The part of each value, i32[rows, m], of B parts at most.
    """
    num_bins = high.size
    occupied = bins.number > 0
    low = jnp.where(occupied, bins.low, 0)
    extent = jnp.where(occupied, high - low, 0)
    wanted = cube_root(bins.mass, extent)
    number, total = jnp.sum(jnp.stack([occupied * 1.0, wanted]), axis=1)
    # A quarter is dealt out evenly, so that no structure inside a bin stays hidden.
    share = 0.75 / jnp.maximum(total, 1e-30) * wanted + 0.25 / jnp.maximum(number, 1)
    parts = occupied * (1 + jnp.floor((num_bins - number) * share * (1 - 1e-5)))
    first = prefix_sum(parts, CPU)[:-1].astype(jnp.int32)
    # A little less than the parts, so that the highest value stays within the last.
    scale = parts * (1 - 1e-6) / jnp.where(extent > 0, extent, jnp.inf)
    scale = jnp.minimum(scale, _STEEPEST)
    low, scale, first = (leaf.at[place].get(mode="clip") for leaf in (low, scale, first))
    part = first + ((values - low) * scale).astype(jnp.int32)
    return jnp.where(values < jnp.inf, jnp.clip(part, 0, num_bins - 1), num_bins)
