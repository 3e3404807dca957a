"""FedZip: the largest values, rounded to a few centers, entropy-coded."""

import jax
import jax.numpy as jnp

from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.compress.coded_group import Coder
from fedcode_jax.compress.topk import largest
from fedcode_jax.limits import check_real
from fedcode_jax.wire import Coded


def fedzip(keep: float = 0.2, num_clusters: int = 3) -> Compressor:
    """All but the largest values become 0; then a codebook of all, zeros included, and its codes.

    1. The k = ceil(keep n) values of largest magnitude stay.
    2. K centers by k-means: near-optimal ones here, where the published program makes 4 steps of
       Lloyd's from K equal distances.
    3. The codes by their frequencies, at their entropy. With K = 3, and the two outer centers
       taking ``keep`` between them, that is at most h(keep) + keep bits a value, 0.92 at 20 %; a
       Huffman code takes 1 + keep = 1.2. The published program counts lengths of 2, 1 and 1 from
       the rarest code on, which no prefix code has. The codebook takes 32 K bits.

    It is published per layer, which is ``algorithm.groups: layers``, and without residuals.

    Args:
      keep: share of the values that stay, above 0 and at most 1.
      num_clusters: K.

    Returns:
      The compressor, which is biased.

    Raises:
      ConfigError: a setting that is not allowed.

    Source: Malekijoo et al., arXiv 2102.01593.

    Example:
      >>> zip = fedzip(keep=0.5)
      >>> section, _ = zip.compress(None, jnp.array([1.0, -4.0, 5.0, 0.5]), jax.random.key(0))
      >>> zip.decompress(section, 4).tolist()
      [0.0, -4.0, 5.0, 0.0]
    """
    check_real("compressor.keep", keep, 0, 1, above=True)
    coder = Coder(num_clusters, "entropy", setting="compressor")

    def compress(vector: jax.Array, key: jax.Array) -> Coded:
        places = largest(vector, keep)
        pruned = jnp.zeros_like(vector).at[places].set(vector[places], unique_indices=True)
        return coder.encode(pruned, (vector.size,))

    return stateless(compress)
