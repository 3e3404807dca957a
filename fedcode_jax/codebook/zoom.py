"""An adaptive histogram: fine bins where an optimal codebook will have its fine cells.

Uniform bins fail on far outliers and on values of many magnitudes. Two passes do not. The first
bins the values by the leading bits of their float representation, which resolves every magnitude
alike, and notes each bin's weight n_b and its extent [lo_b, hi_b]. The second cuts each of these
bins into equal parts, their number proportional to n_b^(1/3) (hi_b - lo_b)^(2/3): the number of
centers that an optimal codebook puts there (the point density f^(1/3) of Panter and Dite, 1951,
and Bennett, 1948).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.numerics import prefix_sum

_COARSE_BITS = 12


class _Bins(NamedTuple):
    """The bin of each value, i32[n], and of each bin its weight, lowest and highest value."""

    place: jax.Array
    mass: jax.Array
    low: jax.Array
    high: jax.Array


class _Search(NamedTuple):
    """The search for few distinct values: the bins so far, and whether each holds one value."""

    place: jax.Array
    mass: jax.Array
    means: jax.Array
    resolved: jax.Array
    passes: jax.Array


def bin_values(
    values: jax.Array, weights: jax.Array, num_bins: int, num_clusters: int
) -> tuple[jax.Array, jax.Array]:
    """Bins the values.

    If no more than ``num_clusters`` bins turn out to be occupied, the occupied bins are cut again
    until each holds copies of one value only (or more bins are occupied), so that few distinct
    values are found exactly. Ordinary data never enters that loop.

    Args:
      values: f32[n].
      weights: f32[n] >= 0.
      num_bins: B, at least twice 4096 and twice ``num_clusters``.
      num_clusters: see above.

    Returns:
      means f32[B], ascending over the occupied bins, and weights f32[B], 0 in empty bins.
    """
    place = _place_by_magnitude(values)
    mass = jnp.zeros(num_bins).at[place].add(weights, mode="promise_in_bounds")

    def unfinished(carry: _Search) -> jax.Array:
        few = (jnp.sum(carry.mass > 0) <= num_clusters) & ~carry.resolved
        return (carry.passes == 0) | (few & (carry.passes < 8))

    def cut(carry: _Search) -> _Search:
        bins = _measure(values, carry.place, carry.mass)
        mixed = bins.low < bins.high
        wanted = jnp.where(carry.passes == 0, _cube_root(bins.mass, bins.high - bins.low), 1)
        place, mass, means = _subdivide(values, weights, bins, wanted)
        # A lone value is its bin's lowest, exactly; a mean could be off by rounding.
        resolved = ~jnp.any(mixed)
        mass = jnp.where(resolved, bins.mass, mass)
        means = jnp.where(resolved, bins.low, means)
        return _Search(place, mass, means, resolved, carry.passes + 1)

    start = _Search(place, mass, jnp.zeros(num_bins), jnp.zeros((), bool), jnp.int32(0))
    found = jax.lax.while_loop(unfinished, cut, start)
    return found.means, found.mass


def _place_by_magnitude(values: jax.Array) -> jax.Array:
    """Bins by the leading bits of the float's rank among all floats between the extremes."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    rank = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # ascending with the value, negative ones included
    lowest, highest = jnp.min(rank), jnp.max(rank)
    offset = jax.lax.bitcast_convert_type(rank - lowest, jnp.uint32)
    extent = jax.lax.bitcast_convert_type(highest - lowest, jnp.uint32)
    used = 32 - jax.lax.clz(extent).astype(jnp.int32)
    shift = jnp.maximum(used - _COARSE_BITS, 0).astype(jnp.uint32)
    return (offset >> shift).astype(jnp.int32)


def _measure(values: jax.Array, index: jax.Array, mass: jax.Array) -> _Bins:
    """Adds each bin's extremes; an empty bin has low > high."""
    low = jnp.full_like(mass, jnp.inf).at[index].min(values, mode="promise_in_bounds")
    high = jnp.full_like(mass, -jnp.inf).at[index].max(values, mode="promise_in_bounds")
    return _Bins(index, mass, low, high)


def _cube_root(mass: jax.Array, width: jax.Array) -> jax.Array:
    """mass^(1/3) width^(2/3), by logarithms: they vectorise, and nothing overflows."""
    positive = (mass > 0) & (width > 0)
    mass, width = jnp.where(positive, mass, 1), jnp.where(positive, width, 1)
    return jnp.where(positive, jnp.exp((jnp.log(mass) + 2 * jnp.log(width)) / 3), 0)


def _subdivide(
    values: jax.Array, weights: jax.Array, bins: _Bins, wanted: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cuts each bin that holds several values into equal parts, more where more are wanted.

    Args:
      values: f32[n].
      weights: f32[n].
      bins: the bins to cut.
      wanted: relative number of parts of each bin.

    Returns:
      The part of each value i32[n], the weight of each part f32[B], and its mean f32[B].
    """
    num_bins = bins.mass.size
    occupied = bins.low <= bins.high
    mixed = bins.low < bins.high
    spare = num_bins - jnp.sum(occupied)
    wanted = jnp.where(mixed, wanted, 0)
    # A quarter is dealt out evenly, so that no structure inside a bin stays hidden.
    share = 0.75 * wanted / jnp.maximum(jnp.sum(wanted), 1e-30)
    share += 0.25 * mixed / jnp.maximum(jnp.sum(mixed), 1)
    parts = occupied + jnp.floor(spare * share * (1 - 1e-5))
    first = prefix_sum(parts)[:-1]
    low = jnp.where(occupied, bins.low, 0)
    width = jnp.where(mixed, (bins.high - bins.low) / jnp.maximum(parts, 1), 1)

    at = bins.place
    scaled = (values - low[at]) / width[at]
    step = jnp.clip(jnp.floor(scaled), 0, parts[at] - 1)
    residual = (scaled - step) * width[at]
    index = jnp.clip((first[at] + step).astype(jnp.int32), 0, num_bins - 1)
    mass = jnp.zeros(num_bins).at[index].add(weights, mode="promise_in_bounds")
    excess = jnp.zeros(num_bins).at[index].add(weights * residual, mode="promise_in_bounds")

    # Each part's start, from the bin that owns it: the occupied bins, closed up.
    slot = jnp.where(occupied, prefix_sum(occupied * 1.0)[:-1].astype(jnp.int32), num_bins)
    mark = jnp.where(occupied, first.astype(jnp.int32), num_bins)
    owner = prefix_sum(jnp.zeros(num_bins).at[mark].add(1.0, mode="drop"))[1:].astype(jnp.int32) - 1
    low, width, first = (
        jnp.zeros(num_bins).at[slot].set(a, mode="drop")[owner] for a in (low, width, first)
    )
    start = low + (jnp.arange(num_bins) - first) * width
    mean = start + excess / jnp.where(mass > 0, mass, 1)
    upper = jnp.concatenate([start[1:], jnp.full(1, jnp.inf)])
    return index, mass, jnp.clip(mean, start, jnp.maximum(start, upper))
