"""Probabilities as the entropy coder rounds them, in JAX.

The coder gives symbol j of K the probability p_j / 2^24 with

    p_j = floor(R (c_j + w_j)) - floor(R c_j) + 1,    R = 2^24 - K,

where w_j are its weights as shares of all and c_j the share of those before it. So no symbol is
below 2^-24, which is what codes cost that a model did not expect. Shares are u32 here, in units
of 2^-32, and 1 is 0: they wrap around.
"""

import jax
import jax.numpy as jnp
import numpy as np

PRECISION = 24


def share(part: jax.Array, whole: jax.Array) -> jax.Array:
    """Part / whole, to a unit of 2^-32.

    Args:
      part: i32[...], 0 .. whole.
      whole: i32[...], 1 .. 2^29.

    Returns:
      u32[...].

    Example:
      >>> share(jnp.array([0, 1, 4]), jnp.array([4, 4, 4])).tolist()
      [0, 1073741824, 0]
    """
    inverse = 1 / whole.astype(jnp.float32)
    high = (part.astype(jnp.float32) * inverse * 2**12).astype(jnp.int32)
    rest = (part << 12) - high * whole  # exact, though its terms wrap around
    low = jnp.floor(rest.astype(jnp.float32) * inverse * 2**20).astype(jnp.int32)
    return (high.astype(jnp.uint32) << 20) + low.astype(jnp.uint32)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """The product of two shares below 1, u32[...]."""
    a_high, a_low, b_high, b_low = a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF
    middle = a_high * b_low + ((a_low * b_low) >> 16)
    carried = (middle & 0xFFFF) + a_low * b_high
    return a_high * b_high + (middle >> 16) + (carried >> 16)


def symbol_bits(
    before: jax.Array, until: jax.Array, is_last: jax.Array, symbols: jax.Array | int
) -> jax.Array:
    """-log2 of the probability of symbols.

    Args:
      before: u32[...], the share of all symbols before each.
      until: u32[...], with its own.
      is_last: bool[...], whether it is the last symbol or none after it has any share.
      symbols: i32[...], K.

    Returns:
      f32[...].
    """
    symbols = jnp.maximum(jnp.asarray(symbols, jnp.int32), 2)  # the coder wants two at least
    limit = 2**PRECISION - symbols
    until = jnp.where(is_last, limit, _scaled(until, symbols))
    probability = until - _scaled(before, symbols) + 1
    # What a rounding can leave of a symbol that does not occur.
    probability = jnp.maximum(probability, 1).astype(jnp.float32) * np.float32(2.0**-PRECISION)
    return -jnp.log2(probability)


def _scaled(shares: jax.Array, symbols: jax.Array) -> jax.Array:
    """floor(share (2^24 - K)), i32[...]."""
    K = symbols.astype(jnp.uint32)
    less = (((shares >> 16) * K) >> 8) + (((shares & 0xFFFF) * K) >> 24)  # share K in 2^-8
    return ((shares - less) >> 8).astype(jnp.int32)
