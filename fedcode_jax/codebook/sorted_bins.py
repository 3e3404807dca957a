"""Fine bins as runs of sorted values: what accelerators make of many values.

Sorted, the values show where an optimal codebook has its fine cells without a histogram: between a
value and the one before it, h apart, the point density f^(1/3) (Panter and Dite, 1951) puts
w^(1/3) h^(2/3) centers, up to a factor, with w the weight of the value's copies. Bins end at equal
steps of the running sum of that. There is no loop over values, bins or levels, nothing is
scattered, and a value counts in its own bin alone.
"""

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.numerics import (
    capped_factor,
    count_below,
    cube_root,
    prefix_sum,
    run_sums,
    running_max,
)

_EVENLY = 0.25  # share of the bins that is dealt out by number, so that nothing stays hidden
_COUNTED_BY_FLOATS = 2**24
_NARROWEST = 1e-37  # of what can be divided by


def bin_sorted(
    values: jax.Array, weights: jax.Array | None, most: int, target: str
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The means and weights of bins of neighbouring values.

    Args:
      values: f32[n].
      weights: f32[n], positive, or 0 on copies of some value of positive weight; None for ones.
      most: how many bins there may be; if there are no more distinct values, each has its own.
      target: the kind of machine, an accelerator.

    Returns:
      f32[A] means, ascending, the last one repeated; f32[A] weights, 0 after the last; i32[] how
      many bins there are. A is ``most`` or n, the lower.
    """
    if weights is None:
        values = jax.lax.sort(values)
    else:
        values, weights = jax.lax.sort((values, weights), num_keys=1)
    is_new = jnp.concatenate([jnp.ones(1, bool), values[1:] != values[:-1]])
    begins = is_new if values.size <= most else _begins(values, weights, is_new, most, target)
    place = _numbered(begins, target)
    size = min(most, values.size)
    place, number = jnp.minimum(place, size - 1), jnp.minimum(place[-1] + 1, size)
    runs = count_below(place, jnp.arange(size + 1, dtype=jnp.int32), target=target)
    last = jnp.maximum(runs[1:] - 1, 0)
    low, high = values[jnp.minimum(runs[:-1], values.size - 1)], values[last]
    mass = jnp.diff(runs).astype(jnp.float32)
    if weights is not None:
        mass = jnp.where(mass > 0, run_sums(weights, place)[last], 0)
    if values.size <= most:
        return low, mass, number
    # In parts of the bin's width, which neither overflow nor lose digits; of halves, since the
    # widest may be twice the greatest float.
    width = high / 2 - low / 2
    share = jnp.where(width > 0, 1 / jnp.maximum(width, _NARROWEST), 0)
    above = (values / 2 - (low / 2)[place]) * share[place]
    if weights is not None:
        above = above * weights
    mean = jnp.clip(run_sums(above, place)[last] / jnp.where(mass > 0, mass, 1), 0, 1)
    means = jnp.where(width > 0, low + width * mean + width * mean, low)
    means = jnp.where(jnp.arange(size) < number, jnp.minimum(means, high), values[-1])
    return means, mass, number


def _begins(
    values: jax.Array, weights: jax.Array | None, is_new: jax.Array, most: int, target: str
) -> jax.Array:
    """Which values, sorted, begin a bin: bool[n]."""
    ones = jnp.ones_like(values) if weights is None else weights
    # Read backwards, the running sum at the first of a value's copies is the weight of all.
    copies = jnp.flip(run_sums(jnp.flip(ones), jnp.flip(values)))
    gap = jnp.append(0, values[1:] / 2 - values[:-1] / 2)
    wish = jnp.where(is_new, cube_root(copies, gap), 0)
    number = _numbered(is_new, target) + 1
    # The last value's bin begins at the end of the steps.
    most = most - 1
    fine = jnp.minimum(capped_factor(wish, (1 - _EVENLY) * most) * wish, 1)
    even = number.astype(jnp.float32) * (_EVENLY * most / number[-1])
    steps = prefix_sum(fine, target)[1:]
    steps = steps * ((1 - _EVENLY) * most / jnp.maximum(steps[-1], 1)) + even
    # Rounding may take a running sum a step back, and a bin would begin twice.
    at = running_max(jnp.floor(steps))
    begins = jnp.concatenate([jnp.ones(1, bool), at[1:] != at[:-1]])
    return is_new & (begins | (number[-1] <= most))


def _numbered(begins: jax.Array, target: str) -> jax.Array:
    """The number of the run that each entry is in, i32[n], from 0."""
    if begins.size < _COUNTED_BY_FLOATS:
        return prefix_sum(begins.astype(jnp.float32), target)[1:].astype(jnp.int32) - 1
    return jnp.cumsum(begins, dtype=jnp.int32) - 1
