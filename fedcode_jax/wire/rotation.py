"""A rotation at random that both sides make from a seed: signs and Hadamard transforms.

A transform of a power of two is not for n values; this is one for any n, without padding. In each
of four passes the signs change at random, and every m-th value goes into a transform of width B,
about the root of n, with the few that are left over coming first in the next pass. That mixes as
well as, and for vectors of few large values better than, one transform of all values, in as many
steps. All is sums and powers of two, and so the same to the bit in any program.
"""

import jax
import jax.numpy as jnp
import numpy as np

PASSES = 4


def rotate(vector: jax.Array, seed: jax.Array) -> jax.Array:
    """The rotated vector: values like independent ones of a normal distribution, with its norm.

    Args:
      vector: f32[n].
      seed: u32[].

    Returns:
      f32[n]; a linear map of the vector that keeps lengths and angles (below n = 4 signs alone).

    Source: Ailon and Chazelle 2009; of messages: Suresh et al., arXiv 1611.00429.

    Example:
      >>> turned = rotate(jnp.array([3.0, 0.0, 0.0, 4.0]), jnp.uint32(7))
      >>> float(jnp.sum(turned**2)), jnp.abs(rotate_back(turned, jnp.uint32(7))).tolist()
      (25.0, [3.0, 0.0, 0.0, 4.0])
    """
    width, columns = _shape(vector.size)
    end = width * columns

    def one_pass(number: jax.Array, vector: jax.Array) -> jax.Array:
        vector = _signed(vector, seed, number)
        matrix = _transform(vector[:end].reshape(width, columns))
        return jnp.concatenate([vector[end:], matrix.T.reshape(-1)])

    return jax.lax.fori_loop(0, PASSES, one_pass, vector)


def rotate_back(vector: jax.Array, seed: jax.Array) -> jax.Array:
    """The inverse of ``rotate``: f32[n]."""
    width, columns = _shape(vector.size)
    start = vector.size - width * columns

    def one_pass(done: jax.Array, vector: jax.Array) -> jax.Array:
        matrix = _transform(vector[start:].reshape(columns, width).T)
        vector = jnp.concatenate([matrix.reshape(-1), vector[:start]])
        return _signed(vector, seed, PASSES - 1 - done)

    return jax.lax.fori_loop(0, PASSES, one_pass, vector)


def kept(count: int, size: int, seed: jax.Array) -> jax.Array:
    """Which k of n rotated values are kept: i32[k], consecutive ones, the first after the last.

    Where it begins is as likely anywhere, and so each value as likely as another.

    Args:
      count: k.
      size: n.
      seed: u32[], that of the rotation.

    Example:
      >>> kept(3, 5, jnp.uint32(0)).tolist(), kept(2, 2, jnp.uint32(0)).tolist()
      ([1, 2, 3], [0, 1])
    """
    if count == size:
        return jnp.arange(size)
    first = _drawn(seed, jnp.uint32(PASSES * size % 2**32)) % np.uint32(size)
    return (first.astype(jnp.int32) + jnp.arange(count)) % size


def _shape(size: int) -> tuple[int, int]:
    """B, the least power of 4 whose square is n (if it is not above n), and m = floor(n / B)."""
    width = 1
    while width**2 < size and 4 * width <= size:
        width *= 4
    return width, size // width


def _transform(matrix: jax.Array) -> jax.Array:
    """The Hadamard transform of every column f32[B], as one that keeps lengths.

    Each step does the same: one of four parts each, whose sums lie side by side (Pease, 1968).
    """
    width, columns = matrix.shape
    if width == 1:
        return matrix

    def step(_: int, matrix: jax.Array) -> jax.Array:
        a, b, c, d = matrix.reshape(4, width // 4, columns)
        ac, bd, a_c, b_d = a + c, b + d, a - c, b - d
        rows = jnp.stack([ac + bd, ac - bd, a_c + b_d, a_c - b_d], axis=1)
        return (rows * np.float32(0.5)).reshape(matrix.shape)

    return jax.lax.fori_loop(0, width.bit_length() // 2, step, matrix)


def _signed(vector: jax.Array, seed: jax.Array, number: jax.Array) -> jax.Array:
    """The values, negative where the number drawn for them has its highest bit."""
    first = number.astype(jnp.uint32) * np.uint32(vector.size)
    drawn = _drawn(seed, first + jnp.arange(vector.size, dtype=jnp.uint32))
    return jnp.where(drawn >> 31 == 1, -vector, vector)


def _drawn(seed: jax.Array, places: jax.Array) -> jax.Array:
    """The numbers at some places of the sequence of a seed: u32[...]."""
    return _mixed(_mixed(jnp.asarray(seed)) + places * np.uint32(0x9E3779B9))


def _mixed(number: jax.Array) -> jax.Array:
    """A permutation of u32, each bit of which depends on all (Wellons 2018, lowbias32)."""
    number = (number ^ (number >> 16)) * np.uint32(0x7FEB352D)
    number = (number ^ (number >> 15)) * np.uint32(0x846CA68B)
    return number ^ (number >> 16)
