"""Near-optimal k-means: K centers and a code for each value."""

from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.compress.coded_group import Coder
from fedcode_jax.errors import ConfigError


def codebook(
    num_clusters: int = 3, coding: str = "adaptive", block: int = 1, rate_weight: float = 0.0
) -> Compressor:
    """A codebook fitted to the vector, and codes: value i becomes the center nearest to it.

        min over c_1 .. c_K of  sum_i min_k |v_i - c_k|^2

    or, at a price of bits, with the cells that weigh error against code length. Few centers of
    *updates* do what many centers of weights do, if residuals are kept.

    Args:
      num_clusters: K.
      coding: how codes are written, of ``wire.CODINGS`` but conditional.
      block: consecutive values that share a code.
      rate_weight: price of a bit, in squared error relative to the variance of the vector.

    Returns:
      The compressor.

    Raises:
      ConfigError: a setting that is not allowed, or does not go with another.

    Source: k-means of updates: FedZip, arXiv 2102.01593; at a price of bits: Chou, Lookabaugh and
    Gray 1989.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> twice = codebook(num_clusters=2)
      >>> section, _ = twice.compress(None, jnp.array([0.0, 2.0, 0.0, 4.0]), jax.random.key(0))
      >>> twice.decompress(section, 4).tolist()
      [0.0, 3.0, 0.0, 3.0]
    """
    if coding == "conditional":
        raise ConfigError(
            "compressor.coding: 'conditional' cannot be used: what went before tells little of "
            "an update; use adaptive"
        )
    coder = Coder(num_clusters, coding, block, rate_weight, setting="compressor")
    return stateless(lambda vector, key: coder.encode(vector, (vector.size,)))
