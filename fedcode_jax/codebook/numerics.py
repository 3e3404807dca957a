"""Running sums, searches and the like, in the forms that CPUs and accelerators do well.

A CPU takes few operations one after another, in loops of gathers and short blocks. A GPU or TPU is
kept waiting by every step of a loop: there, rows of 128 are compared or multiplied as a whole.
"""

import jax
import jax.numpy as jnp

from fedcode_jax.targets import CPU

_ROW = 128  # what accelerators compare as a whole: the lanes of a TPU
_FACTORS = 64


def prefix_sum(x: jax.Array, target: str) -> jax.Array:
    """Exclusive running sums along the last axis, with the total at the end.

    Sums blocks by a product with a triangular matrix: faster than `jnp.cumsum` on CPU, and a
    matrix product on GPU and TPU. Whole numbers below 2^24 are exact.

    Args:
      x: f32[..., A].
      target: the kind of machine.

    Returns:
      f32[..., A + 1]: entry i is ``x[..., :i].sum()``.

    Example:
      >>> import numpy as np
      >>> np.asarray(prefix_sum(jnp.array([1.0, 2.0, 4.0]), "cpu")).tolist()
      [0.0, 1.0, 3.0, 7.0]
    """
    *lead, size = x.shape
    # Short blocks take few operations, long ones few products.
    short = target == CPU
    block = 16 if short else min(2 ** -(-(size - 1).bit_length() // 2), 256)
    block = size if size <= (64 if short else 256) else block
    blocks = -(-size // block)
    rows = jnp.pad(x, [(0, 0)] * len(lead) + [(0, blocks * block - size)])
    within = jnp.matmul(
        rows.reshape(*lead, blocks, block),
        jnp.triu(jnp.ones((block, block), x.dtype)),
        precision=jax.lax.Precision.HIGHEST,
    )
    if blocks > 1:
        within += prefix_sum(within[..., -1], target)[..., :-1, None]
    running = within.reshape(*lead, -1)[..., :size]
    return jnp.concatenate([jnp.zeros_like(running[..., :1]), running], axis=-1)


def run_sums(x: jax.Array, keys: jax.Array) -> jax.Array:
    """Inclusive running sums that begin anew wherever the key changes, for accelerators.

    A sum holds terms of its own run alone, so that none loses its digits to those before it.

    Args:
      x: f32[n].
      keys: [n], the same all through a run.

    Returns:
      f32[n].

    Example:
      >>> run_sums(jnp.array([1e9, 1.0, 2.0]), jnp.array([0, 1, 1])).tolist()
      [1000000000.0, 1.0, 3.0]
    """
    size = x.size
    row = min(_ROW, size)
    rows = -(-size // row)
    x = jnp.pad(x, (0, rows * row - size)).reshape(rows, row)
    keys = jnp.pad(keys, (0, rows * row - size), mode="edge").reshape(rows, row)
    same = keys[:, :, None] == keys[:, None, :]
    upto = jnp.tri(row, dtype=bool)
    sums = jnp.sum(jnp.where(same & upto, x[:, None, :], 0), axis=2)
    if rows > 1:
        last = keys[:, -1]
        before = run_sums(sums[:, -1], last)
        goes_on = keys[1:] == last[:-1, None]
        sums = sums + jnp.pad(jnp.where(goes_on, before[:-1, None], 0), ((1, 0), (0, 0)))
    return sums.reshape(-1)[:size]


def running_max(x: jax.Array) -> jax.Array:
    """The greatest entry so far, for accelerators.

    Of floats: XLA:GPU takes minutes to compile it for whole numbers.

    Args:
      x: f32[n].

    Returns:
      f32[n].

    Example:
      >>> running_max(jnp.array([1.0, 3.0, 2.0])).tolist()
      [1.0, 3.0, 3.0]
    """
    size = x.size
    row = min(_ROW, size)
    rows = -(-size // row)
    x = jnp.pad(x, (0, rows * row - size), mode="edge").reshape(rows, row)
    found = jnp.max(jnp.where(jnp.tri(row, dtype=bool), x[:, None, :], -jnp.inf), axis=2)
    if rows > 1:
        before = running_max(found[:, -1])
        before = jnp.pad(before[:-1], (1, 0), constant_values=-jnp.inf)
        found = jnp.maximum(found, before[:, None])
    return found.reshape(-1)[:size]


def count_below(
    ascending: jax.Array,
    limits: jax.Array,
    within: tuple[jax.Array, jax.Array] | None = None,
    *,
    target: str,
) -> jax.Array:
    """How many entries lie below each limit.

    Args:
      ascending: [A], A >= 1.
      limits: [...], of the same type.
      within: the least and the most to find, i32[...] each, 0 to A, or None for 0 and A. On a CPU,
        the closer they are, the fewer steps it takes.
      target: the kind of machine.

    Returns:
      i32[...], 0 to A.

    Example:
      >>> import numpy as np
      >>> ascending, limits = jnp.array([1, 3, 3, 5]), jnp.array([0, 3, 4, 9])
      >>> np.asarray(count_below(ascending, limits, target="cpu")).tolist()
      [0, 1, 3, 4]
    """
    if target == CPU:
        return _by_halves(ascending, limits, within)
    found = _by_rows(ascending, limits)
    return found if within is None else jnp.clip(found, *within)


def _by_halves(
    ascending: jax.Array, limits: jax.Array, within: tuple[jax.Array, jax.Array] | None
) -> jax.Array:
    """A binary search, one loop of gathers."""
    size = ascending.size
    levels: int | jax.Array = size.bit_length()
    if within is not None:
        levels = 32 - jax.lax.clz(jnp.max(within[1] - within[0]))
    least, most = within or (jnp.zeros(limits.shape, jnp.int32), size)

    def descend(level: jax.Array, below: jax.Array) -> jax.Array:
        further = below + (1 << (levels - 1 - level))
        # Positions from A on count as infinitely high.
        at = ascending.at[jnp.minimum(further, size) - 1].get(mode="promise_in_bounds")
        return jnp.where((further <= most) & (at < limits), further, below)

    return jax.lax.fori_loop(0, levels, descend, least)


def _by_rows(ascending: jax.Array, limits: jax.Array) -> jax.Array:
    """A search in rows: of every 128 times 128 entries, of every 128, and of one by one."""
    size = ascending.size
    # By level the last entry of each piece of 1, 128, 128 times 128 entries. Cut in rows again and
    # again: a slice that leaves out thousands between two does not compile for TPUs.
    levels = [ascending]
    while levels[-1].size > _ROW:
        finer = levels[-1]
        levels.append(finer[: finer.size // _ROW * _ROW].reshape(-1, _ROW)[:, -1])
    highest = jnp.inf if jnp.issubdtype(ascending.dtype, jnp.floating) else 2**31 - 1
    below = jnp.zeros(limits.shape, jnp.int32)
    for level in reversed(range(len(levels))):
        step, lasts = _ROW**level, levels[level]
        # What the last row lacks is never below.
        lasts = jnp.pad(lasts, (0, -lasts.size % _ROW), constant_values=highest)
        row = (
            lasts.reshape(-1, _ROW).at[below // (step * _ROW)].get(mode="fill", fill_value=highest)
        )
        below = below + step * jnp.sum(row < limits[..., None], axis=-1, dtype=jnp.int32)
    return jnp.minimum(below, size)


def sort_floats(x: jax.Array) -> jax.Array:
    """Ascending floats f32[n]: sorted as whole numbers, which XLA does five times faster on a CPU.

    Example:
      >>> sort_floats(jnp.array([1.5, -2.0, 0.25])).tolist()
      [-2.0, 0.25, 1.5]
    """

    def turn(bits: jax.Array) -> jax.Array:
        # Of negative floats the greater have the lower bits. Twice, this changes nothing.
        return bits ^ ((bits >> 31) & 0x7FFFFFFF)

    bits = jax.lax.sort(turn(jax.lax.bitcast_convert_type(x, jnp.int32)))
    return jax.lax.bitcast_convert_type(turn(bits), jnp.float32)


def cube_root(mass: jax.Array, width: jax.Array) -> jax.Array:
    """mass^(1/3) width^(2/3), 0 where either is not positive.

    By logarithms: they vectorise, and nothing overflows.
    """
    positive = (mass > 0) & (width > 0)
    mass, width = jnp.where(positive, mass, 1), jnp.where(positive, width, 1)
    return jnp.where(positive, jnp.exp((jnp.log(mass) + 2 * jnp.log(width)) / 3), 0)


def capped_factor(wish: jax.Array, total: jax.Array | float) -> jax.Array:
    """The factor, to 2 %, at which wishes of at most 1 each add up to so much, for accelerators.

    Args:
      wish: f32[n] >= 0.
      total: more than 0; where it is more than there are wishes, the factor is very large.

    Returns:
      f32[]: sum min(factor wish, 1) is about the total.

    Example:
      >>> round(float(capped_factor(jnp.array([1.0, 1.0, 100.0]), 2.0)), 1)
      0.5
    """
    positive = wish > 0
    low = jnp.log(total / jnp.maximum(jnp.sum(wish), jnp.finfo(jnp.float32).tiny))
    high = -jnp.log(jnp.min(jnp.where(positive, wish, jnp.inf)))
    high = jnp.where(jnp.any(positive), jnp.maximum(high, low), low)
    for _ in range(2):
        tries = low + (high - low) * jnp.arange(1, _FACTORS + 1) / _FACTORS
        sums = jnp.sum(jnp.minimum(wish * jnp.exp(tries)[:, None], 1), axis=1)
        # The first that is enough; of none, the last.
        enough = jnp.minimum(jnp.sum(sums < total), _FACTORS - 1)
        step = (high - low) / _FACTORS
        low, high = low + enough * step, low + (enough + 1) * step
    return jnp.exp(high)
