"""Signs, with one magnitude."""

import jax
import jax.numpy as jnp

from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.wire import Bits


def sign() -> Compressor:
    """Every value becomes +c or -c by its sign, 0 becomes +c; c is the mean of |v_i|.

    A value takes 1 bit, and the vector 32 for the magnitude.

    Returns:
      The compressor. It is biased: wrap it in ``error_feedback``, which makes it EF-signSGD.

    Source: Karimireddy et al., arXiv 1901.09847; without residuals: Bernstein et al., arXiv
    1802.04434.

    Example:
      >>> section, _ = sign().compress(None, jnp.array([1.0, -2.0, 0.0]), jax.random.key(0))
      >>> sign().decompress(section, 3).tolist()
      [1.0, -1.0, 1.0]
    """
    return stateless(lambda vector, key: signs(vector))


def signs(values: jax.Array) -> Bits:
    """The signs of values with their mean magnitude, as a section."""
    return Bits((values >= 0).astype(jnp.uint8), jnp.mean(jnp.abs(values)))
