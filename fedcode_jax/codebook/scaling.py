"""Values and weights of any size, brought to where float32 neither overflows nor vanishes.

By powers of two, so exactly. Numbers below float32's least normal one, 1.2e-38, count as zero: so
CPUs and TPUs have it, and so it is everywhere.
"""

import jax
import jax.numpy as jnp

_SMALL, _LARGE = -60, 120  # exponents between which values are left as they are
_ROOM = 8


def times_power(x: jax.Array, exponent: jax.Array) -> jax.Array:
    """X 2^exponent, in two steps, neither of which leaves the range of float32.

    Example:
      >>> times_power(jnp.array([1.5, -2.0]), jnp.int32(-1)).tolist()
      [0.75, -1.0]
    """
    half = exponent // 2
    return x * jnp.ldexp(jnp.float32(1), half) * jnp.ldexp(jnp.float32(1), exponent - half)


def size_of(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    """The greatest absolute value f32[] among those of some weight; not finite if any is not.

    Example:
      >>> size_of(jnp.array([1.0, -3.0, 9.0]), jnp.array([1.0, 1.0, 0.0])).item()
      3.0
    """
    sizes = _sizes(values)
    if weights is None:
        return jnp.max(sizes)
    # 0 times the weights is 0, or nan of what is not finite.
    return jnp.max(jnp.where(weights == 0, 0, sizes)) + 0 * jnp.max(_sizes(weights))


def _sizes(x: jax.Array) -> jax.Array:
    """Absolute values; infinite of what is no number, which a maximum on a CPU passes over."""
    return jnp.where(jnp.isnan(x), jnp.inf, jnp.abs(x))


def exponent_of(size: jax.Array) -> jax.Array:
    """The exponent i32[] at which a size f32[] > 0 is a number from 0.5 to 1; 0 of zero."""
    return jnp.frexp(size)[1]


def comfortable(size: jax.Array) -> jax.Array:
    """The power of two by which values of such a size are multiplied, i32[]: 0 of most.

    Very small ones are brought up, the very largest a little down: differences and products of
    what they are then are floats, and all that were distinct still are.

    Args:
      size: f32[], the greatest absolute value.
    """
    exponent = exponent_of(size)
    return jnp.where(exponent < _SMALL, -exponent, jnp.where(exponent > _LARGE, -_ROOM, 0))


def at_most_one(weights: jax.Array) -> jax.Array:
    """Weights f32[n] in proportion, the greatest from 0.5 to 1; if all are zero, all ones.

    Example:
      >>> at_most_one(jnp.array([2.0, 6.0, 0.0])).tolist()
      [0.25, 0.75, 0.0]
    """
    weights = jnp.where(jnp.any(weights > 0), weights, 1)
    return times_power(weights, -exponent_of(jnp.max(weights)))
