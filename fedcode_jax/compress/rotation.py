"""Rotated vectors, and the scale of what their values are rounded to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import wire
from fedcode_jax.wire import Bits, Rotated


class Turned(NamedTuple):
    """Some values of the rotated vector, in units of the largest of the vector.

    Attributes:
      values: f32[k].
      unit: f32[].
      square: f32[], the sum of squares of all n values.
      size: n.
      seed: u32[], of the rotation.
    """

    values: jax.Array
    unit: jax.Array
    square: jax.Array
    size: int
    seed: jax.Array


def turn(vector: jax.Array, key: jax.Array, count: int) -> Turned:
    """The vector f32[n], rotated by a seed drawn from the key; ``count`` values of it."""
    seed = jax.random.bits(key, (), jnp.uint32)
    largest = jnp.max(jnp.abs(vector))
    shares = vector / jnp.where(largest > 0, largest, 1)
    values = wire.rotate(shares, seed)[wire.kept(count, vector.size, seed)]
    return Turned(values, largest, jnp.sum(shares**2), vector.size, seed)


def scale(turned: Turned, rounded: jax.Array, unbiased: bool) -> jax.Array:
    """S, by which the receiver multiplies the rounded values q, 0 where there is nothing to tell.

    Args:
      turned: the values y of the rotated x.
      rounded: f32[k], what they are rounded to, in any unit.
      unbiased: |x|^2 / <q, y>, so that what is read has the length of x along x; else
        <q, y> / |q|^2, of the least error.
    """
    along = jnp.sum(rounded * turned.values)
    square = jnp.sum(rounded**2)
    above, below = (turned.square, along) if unbiased else (along, square)
    # Times a rounded value of up to 4 it is finite.
    most = np.finfo(np.float32).max / 4
    return jnp.minimum(jnp.where(below > 0, above / below, 0) * turned.unit, most)


def signs(vector: jax.Array, key: jax.Array, count: int, unbiased: bool) -> Rotated:
    """The signs of ``count`` values of the rotated vector, and S."""
    turned = turn(vector, key, count)
    bits = turned.values >= 0
    magnitude = scale(turned, jnp.where(bits, 1.0, -1.0), unbiased)
    return Rotated(Bits(bits.astype(jnp.uint8), magnitude), turned.seed, turned.size)
