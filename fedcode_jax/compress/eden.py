"""EDEN: a rotated vector, its values rounded as is best for normal ones, in any number of bits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import codebook, randomness
from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.compress.rotation import scale, signs, turn
from fedcode_jax.limits import check_real, refuse
from fedcode_jax.wire import Coded, Rotated


@randomness.standard_parts
def eden(bits: float = 1.0, unbiased: bool = True) -> Compressor:
    """The values of the vector x, rotated at random, rounded to 2^b levels, and a scale.

        y = R x,   q_i = Q(sqrt(n) y_i / |x|),   read as  R^T S q,
        S = |x|^2 / <q, y>,   or biased  S = <q, y> / |q|^2

    where Q rounds to the nearest of the 2^b centers with the least squared error on a standard
    normal distribution (Lloyd-Max). Below 1 bit, q is the signs of a share b of the values of y,
    which the seed of R chooses, and 0 elsewhere; S is as above. At 1 bit this is ``drive``.

    A value takes b bits, and the vector 32 for the seed and 32 for each center times S (for signs,
    32 for S). The squared error in units of |x|^2 is 0.571, 0.133, 0.0358 and 0.0096 at 1 to 4
    bits and pi / (2 b) - 1 below; biased 0.363, 0.117, 0.0345, 0.0095 and 1 - 2 b / pi.

    Args:
      bits: b, a number from 0.1 to 1, or 2, 3 or 4.
      unbiased: so that errors of many clients average out; else the least error, which is what
        ``error_feedback`` wants: below 0.79 bits residuals would grow without end of the other.

    Returns:
      The compressor, unbiased or biased.

    Raises:
      ConfigError: other bits.

    Source: Vargaftik et al., arXiv 2108.08842.

    Example:
      >>> section, _ = eden(bits=2).compress(None, jnp.arange(9.0), jax.random.key(0))
      >>> section.values.num_clusters, section.values.codes.size
      (4, 9)
    """
    number = check_real("compressor.bits", bits, 0.1, 4)
    if number <= 1:
        return stateless(
            lambda vector, key: signs(
                vector, key, max(1, math.ceil(number * vector.size - 1e-6)), unbiased
            )
        )
    if number % 1:
        refuse("compressor.bits", bits, "from 0.1 to 1, or 2, 3 or 4")
    levels = normal_centers(2 ** int(number))

    def compress(vector: jax.Array, key: jax.Array) -> Rotated:
        centers, turned = jnp.asarray(levels), turn(vector, key, vector.size)
        deviation = jnp.sqrt(turned.square / turned.size)
        codes = codebook.encode(deviation * centers, turned.values)
        size = scale(turned, codebook.decode(centers, codes), unbiased)
        return Rotated(Coded(size * centers, codes), turned.seed, turned.size)

    return stateless(compress)._replace(fits_codebooks=False)  # its centers are a table's


@functools.cache
def normal_centers(count: int) -> np.ndarray:
    """The centers of the least squared error on a standard normal distribution: f32[count].

    Each is the mean between the middles to its neighbours (Lloyd 1982, Max 1960).

    Example:
      >>> [round(float(center), 3) for center in normal_centers(4)]
      [-1.51, -0.453, 0.453, 1.51]
    """
    centers, moved = np.linspace(-2, 2, count), np.inf
    while moved > 1e-9:
        limits = [-math.inf, *((centers[1:] + centers[:-1]) / 2), math.inf]
        below = np.diff([math.erf(limit / math.sqrt(2)) / 2 for limit in limits])
        density = np.array([math.exp(-(limit**2) / 2) for limit in limits])
        new = -np.diff(density) / math.sqrt(2 * math.pi) / below
        moved, centers = np.abs(new - centers).max(), new
    return centers.astype(np.float32)
