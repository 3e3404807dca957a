"""QSGD: whole multiples of a bucket's norm over s, rounded at random."""

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.compress.base import Compressor, stateless
from fedcode_jax.errors import check_name
from fedcode_jax.limits import check_whole
from fedcode_jax.wire import Levels, rounded_scales

CODINGS = ("fixed", "entropy", "adaptive")


@randomness.standard_parts
def qsgd(bits: int = 4, bucket: int = 128, coding: str = "fixed") -> Compressor:
    """QSGD, and FedPAQ where it is of changes: stochastic rounding to s levels of a bucket's norm.

        q_i = sign(v_i) (norm / s) (l + [u < x - l]),   x = s |v_i| / norm,   l = floor(x),

    with the L2 norm of the bucket that i lies in, u uniform in [0, 1), and s = 2^(bits - 1) - 1.
    ``norm / s`` is rounded to what the wire holds before x is taken from it, so that the mean of
    q_i over u is v_i all the same.

    Published, a value takes about log2(2 s + 1) + 32 / bucket bits. With coding fixed it takes
    ceil(log2(2 s + 1)) = ``bits``, and 32 / bucket; the other codings take the entropy of the
    levels in place of ``bits``.

    Args:
      bits: of a level at fixed width, 2 .. 8; s is 1, 7 and 127 at 2, 4 and 8 bits.
      bucket: consecutive values that share a norm; the last bucket may have fewer.
      coding: how levels are written: fixed, entropy or adaptive.

    Returns:
      The compressor. It is unbiased, and needs no ``error_feedback``. Its squared error is up to
      min(bucket / s^2, sqrt(bucket) / s) times the square of the vector; where that exceeds 1, as
      at 2 bits with buckets of more than a few values, residuals would grow without end.

    Raises:
      ConfigError: a setting that is not allowed.

    Source: Alistarh et al., arXiv 1610.02132; of changes: Reisizadeh et al., arXiv 1909.13014.

    Example:
      >>> section, _ = qsgd(bucket=2).compress(None, jnp.array([0.0, 7.0, -2.0]), jax.random.key(0))
      >>> section.levels.tolist(), section.parts
      ([0, 7, -7], (2, 1))
    """
    s = 2 ** (check_whole("compressor.bits", bits, 2, 8) - 1) - 1
    check_whole("compressor.bucket", bucket, 1)
    check_name("compressor.coding", coding, CODINGS)

    def compress(vector: jax.Array, key: jax.Array) -> Levels:
        n = vector.size
        width = min(bucket, n)
        count = -(-n // width)
        rows = jnp.pad(vector, (0, count * width - n)).reshape(count, width)
        scales = _scales(rows, s)
        size = jnp.abs(rows) / jnp.where(scales > 0, scales, jnp.inf)[:, None]
        size = jnp.minimum(size, s)  # of a device whose quotients are not the nearest
        low = jnp.floor(size)
        up = jax.random.uniform(key, rows.shape) < size - low
        levels = (jnp.sign(rows) * (low + up)).astype(jnp.int8).reshape(-1)[:n]
        parts = (*(width,) * (count - 1), n - width * (count - 1)) if count > 1 else ()
        return Levels(levels, scales, s, parts, coding)

    return stateless(compress)


def _scales(rows: jax.Array, s: int) -> jax.Array:
    """The scale norm / s of each row as the wire holds it, at least its largest value / s."""
    largest = jnp.max(jnp.abs(rows), axis=1)
    # Squares of shares: those of the values themselves may be beyond float32.
    shares = rows / jnp.where(largest > 0, largest, 1)[:, None]
    scales = rounded_scales(largest / s * jnp.sqrt(jnp.sum(shares**2, axis=1)))
    larger = rounded_scales(scales * (1 + 2.0**-15))  # the next one, or the one after it
    return jnp.where(scales * s < largest, larger, scales)
