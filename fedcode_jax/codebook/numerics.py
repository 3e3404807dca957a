"""Running sums and searches that compile to little and run fast on every backend."""

import jax
import jax.numpy as jnp

from fedcode_jax.targets import here


def prefix_sum(x: jax.Array) -> jax.Array:
    """Exclusive running sums along the last axis, with the total at the end.

    Sums blocks by a product with a triangular matrix: faster than `jnp.cumsum` on CPU, and a
    matrix product on GPU and TPU. Whole numbers below 2^24 are exact.

    Args:
      x: f32[..., A].

    Returns:
      f32[..., A + 1]: entry i is ``x[..., :i].sum()``.

    Example:
      >>> import numpy as np
      >>> np.asarray(prefix_sum(jnp.array([1.0, 2.0, 4.0]))).tolist()
      [0.0, 1.0, 3.0, 7.0]
    """
    *lead, size = x.shape
    # Short blocks take few operations, long ones few products.
    short = here() == "cpu"
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
        within += prefix_sum(within[..., -1])[..., :-1, None]
    running = within.reshape(*lead, -1)[..., :size]
    return jnp.concatenate([jnp.zeros_like(running[..., :1]), running], axis=-1)


def count_below(
    ascending: jax.Array,
    limits: jax.Array,
    within: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """How many entries lie below each limit: a binary search, one loop of gathers.

    Args:
      ascending: [A], A >= 1.
      limits: [...], of the same type.
      within: the least and the most to find, i32[...] each, 0 to A, or None for 0 and A. The closer
        they are, the fewer steps it takes.

    Returns:
      i32[...], 0 to A.

    Example:
      >>> import numpy as np
      >>> np.asarray(count_below(jnp.array([1, 3, 3, 5]), jnp.array([0, 3, 4, 9]))).tolist()
      [0, 1, 3, 4]
    """
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
