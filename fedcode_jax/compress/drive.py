"""DRIVE: the signs of a rotated vector, with one scale."""

from fedcode_jax import randomness
from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.compress.rotation import signs


@randomness.standard_parts
def drive(unbiased: bool = True) -> Compressor:
    """The signs of the vector x, rotated at random, and a scale.

        y = R x,   read as  R^T S sign(y),   S = |x|^2 / |y|_1,   or biased  S = |y|_1 / n

    A value takes 1 bit, and the vector 32 for S and 32 for the seed of R. The squared error is
    pi / 2 - 1 = 0.571 times |x|^2, and biased 1 - 2 / pi = 0.363, whatever the vector. R is made of
    Hadamard transforms, as published, but of several, for any n without padding
    (``wire.rotation``); it is good from about a hundred values on.

    Args:
      unbiased: so that errors of many clients average out; else the least error, which is what
        ``error_feedback`` wants.

    Returns:
      The compressor, unbiased or biased.

    Source: Vargaftik et al., arXiv 2105.08339.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> vector = jnp.arange(100.0)
      >>> section, _ = drive().compress(None, vector, jax.random.key(0))
      >>> read = drive().decompress(section, 100)
      >>> round(float(read @ vector / (vector @ vector)), 4)
      1.0
    """
    return stateless(lambda vector, key: signs(vector, key, vector.size, unbiased))
