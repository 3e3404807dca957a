"""Codes: which center stands for a value, and back."""

import jax
import jax.numpy as jnp

from fedcode_jax.errors import DataError


def encode(centers: jax.Array, values: jax.Array) -> jax.Array:
    """Codes each value by its nearest center; ties go to the lower center.

    code(v) = min argmin_j |v - c_j|, with the distances as real numbers: v is compared with the
    greatest float32 that is not above (c_j + c_{j+1}) / 2, so no rounding enters. Of equal centers
    the first is used. A value that is not a number gets code 0.

    Args:
      centers: f32[K], ascending, finite.
      values: f32[...].

    Returns:
      codes: u8[...] if K <= 256, else u16[...].

    Raises:
      DataError: ``centers`` is not f32[K] with K from 1 to 65536.

    References:
      FedCode, arXiv 2311.09270, section 3 (the assignment that a client sends).

    Example:
      >>> import numpy as np
      >>> np.asarray(encode(jnp.array([0.0, 1.0, 3.0]), jnp.array([-9.0, 0.5, 0.6, 2.5]))).tolist()
      [0, 0, 1, 2]
    """
    centers, values = jnp.asarray(centers, jnp.float32), jnp.asarray(values, jnp.float32)
    if centers.ndim != 1 or not 1 <= centers.size <= 65536:
        raise DataError(f"codebook.encode: centers must be f32[1..65536], not {centers.shape}")
    K = centers.size
    depth = (K - 1).bit_length()
    limits = jnp.pad(_limits(centers), (0, 2**depth - K), constant_values=jnp.inf)
    # A binary search without branches: code is the number of limits below the value.
    code = jnp.zeros(values.shape, jnp.int32)
    for level in reversed(range(depth)):
        limit = limits.at[code + (2**level - 1)].get(mode="promise_in_bounds")
        code = code + jnp.where(limit < values, 2**level, 0)
    return code.astype(jnp.uint8 if K <= 256 else jnp.uint16)


def _limits(centers: jax.Array) -> jax.Array:
    """The greatest float32 that is nearer to center j than to the next, or as near: f32[K - 1]."""
    lower, upper = centers[:-1] / 2, centers[1:] / 2
    middle = lower + upper
    # What rounding took away from the sum, exactly (Knuth's two-sum).
    part = middle - lower
    lost = (lower - (middle - part)) + (upper - part)
    limit = jnp.where(lost < 0, jnp.nextafter(middle, -jnp.inf), middle)
    # No value passes from a center to an equal one: the next different limit counts for both.
    return jax.lax.cummin(jnp.where(lower < upper, limit, jnp.inf), reverse=True)


def decode(centers: jax.Array, codes: jax.Array) -> jax.Array:
    """The centers that codes stand for.

    Args:
      centers: f32[K].
      codes: u8[...] or u16[...], each below K.

    Returns:
      values: f32[...].

    Example:
      >>> import numpy as np
      >>> np.asarray(decode(jnp.array([0.5, 2.0]), jnp.array([1, 0, 1], jnp.uint8))).tolist()
      [2.0, 0.5, 2.0]
    """
    return jnp.asarray(centers, jnp.float32)[jnp.asarray(codes).astype(jnp.int32)]


def snap(centers: jax.Array, values: jax.Array) -> jax.Array:
    """Moves every value to its nearest center: decode(centers, encode(centers, values)).

    Args:
      centers: f32[K], ascending.
      values: f32[...].

    Returns:
      values: f32[...]; snapping them again changes nothing.

    Raises:
      DataError: ``centers`` is not f32[K] with K from 1 to 65536.

    References:
      FedCode, arXiv 2311.09270, section 3 (what a receiver of a codebook does with its own
      weights).

    Example:
      >>> import numpy as np
      >>> np.asarray(snap(jnp.array([0.0, 1.0]), jnp.array([0.2, 0.7, 5.0]))).tolist()
      [0.0, 1.0, 1.0]
    """
    return decode(centers, encode(centers, values))


def union(codebooks: jax.Array) -> jax.Array:
    """All centers of several codebooks, as one.

    Args:
      codebooks: f32[M, K].

    Returns:
      centers: f32[M * K], ascending; equal centers stay.

    References:
      FedCode, arXiv 2311.09270, section 3 (the server's codebook of a codebook round).

    Example:
      >>> import numpy as np
      >>> np.asarray(union(jnp.array([[0.0, 2.0], [1.0, 3.0]]))).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return jnp.sort(jnp.asarray(codebooks, jnp.float32).reshape(-1))
