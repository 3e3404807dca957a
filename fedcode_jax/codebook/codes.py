"""Codes: which center stands for a value, and back."""

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.codebook import vectors
from fedcode_jax.errors import DataError

_MOST_CENTERS = 65536  # that codes of 16 bits tell apart
_MOST_COMPARED = 4  # bits of a code, at the price of 2^4 - 1 comparisons


@randomness.standardised
def encode(centers: jax.Array, values: jax.Array, *, limits: jax.Array | None = None) -> jax.Array:
    """Codes each value by its nearest center; ties go to the lower center.

    code(v) = min argmin_j |v - c_j|, with the distances as real numbers: v is compared with the
    greatest float32 that is not above (c_j + c_{j+1}) / 2, so no rounding enters. Of equal centers
    the first is used. A value that is not a number gets code 0.

    Codewords of B values code as many consecutive values each, by the least squared distance in
    float32; values that a last block lacks do not count.

    Args:
      centers: f32[K], ascending, finite; or f32[K, B], finite.
      values: f32[...]; with codewords of B values f32[n].
      limits: f32[K - 1], ascending, the greatest value that gets code j at most, in place of the
        middle between two centers (see ``fit_rate``).

    Returns:
      codes: u8[...] if K <= 256, else u16[...]; of blocks [ceil(n / B)].

    Raises:
      DataError: an argument has another shape than these, or K is not from 1 to 65536.

    References:
      FedCode, arXiv 2311.09270, section 3 (the assignment that a client sends).

    Example:
      >>> import numpy as np
      >>> np.asarray(encode(jnp.array([0.0, 1.0, 3.0]), jnp.array([-9.0, 0.5, 0.6, 2.5]))).tolist()
      [0, 0, 1, 2]
    """
    centers, values = jnp.asarray(centers, jnp.float32), jnp.asarray(values, jnp.float32)
    if centers.ndim not in (1, 2) or not 1 <= len(centers) <= _MOST_CENTERS or centers.size == 0:
        raise DataError(
            f"codebook.encode: centers must be f32[K] or f32[K, B] with K from 1 to 65536, "
            f"not {centers.shape}"
        )
    K = len(centers)
    if centers.ndim == 2:
        if values.ndim != 1 or limits is not None:
            raise DataError(
                f"codebook.encode: blocks code values f32[n] without limits, not {values.shape}"
            )
        rows = vectors.make_rows(values, None, centers.shape[1])
        return vectors.encode_rows(rows, centers).astype(_code_type(K))
    if limits is None:
        limits = _limits(centers)
    elif jnp.shape(limits) != (K - 1,):
        raise DataError(f"codebook.encode: limits must be ({K - 1},), not {jnp.shape(limits)}")
    return _rank(limits, values).astype(_code_type(K))


def _rank(limits: jax.Array, values: jax.Array) -> jax.Array:
    """How many of ascending limits f32[K - 1] lie below each value: i32[...]."""
    K = len(limits) + 1
    depth = (K - 1).bit_length()
    limits = jnp.pad(limits, (0, 2**depth - K), constant_values=jnp.inf)
    # The code is the number of limits below the value: its upper bits by comparing with every limit
    # that can change them, which vectorises, the lower ones by binary search without branches.
    lower = depth - min(depth // 2, _MOST_COMPARED)
    upper = jnp.zeros(values.shape, jnp.int32)
    for part in range(1, 2 ** (depth - lower)):
        upper = upper + (limits[part * 2**lower - 1] < values)
    code = upper * 2**lower
    for level in reversed(range(lower)):
        limit = limits.at[code + (2**level - 1)].get(mode="promise_in_bounds")
        code = code + jnp.where(limit < values, 2**level, 0)
    return code


def _code_type(num_clusters: int) -> type:
    return jnp.uint8 if num_clusters <= 256 else jnp.uint16


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


@randomness.standardised
def decode(centers: jax.Array, codes: jax.Array, size: int | None = None) -> jax.Array:
    """The centers that codes stand for.

    Args:
      centers: f32[K]; or f32[K, B].
      codes: u8[...] or u16[...], each below K; of blocks [m].
      size: how many values there are, of codes [m]; static. None for all, those that filled up
        the last block included.

    Returns:
      values: f32[...]; of blocks f32[m B]; the first f32[size] of them if that is given.

    Raises:
      DataError: ``size`` is negative or more than the codes stand for, or codes are not [m] where
        they must be.

    Example:
      >>> import numpy as np
      >>> np.asarray(decode(jnp.array([0.5, 2.0]), jnp.array([1, 0, 1], jnp.uint8))).tolist()
      [2.0, 0.5, 2.0]
      >>> pairs = jnp.array([[0.0, 1.0], [2.0, 3.0]])
      >>> np.asarray(decode(pairs, jnp.array([1, 0], jnp.uint8), size=3)).tolist()
      [2.0, 3.0, 0.0]
    """
    centers, codes = jnp.asarray(centers, jnp.float32), jnp.asarray(codes)
    if codes.ndim != 1 and (centers.ndim == 2 or size is not None):
        raise DataError(f"codebook.decode: blocks and a size need codes [m], not {codes.shape}")
    values = centers[codes.astype(jnp.int32)]
    values = values if centers.ndim == 1 else values.reshape(-1)
    if size is None:
        return values
    if not 0 <= size <= values.size:
        raise DataError(
            f"codebook.decode: size {size} is not possible; {codes.size} codes stand for "
            f"{values.size} values, give from 0 to that"
        )
    return values[:size]


@randomness.standardised
def snap(centers: jax.Array, values: jax.Array) -> jax.Array:
    """Moves every value to its nearest center: decode(centers, encode(centers, values)).

    Without codes on the way, so that there may be any number of centers, those of the union of
    thousands of codebooks say. Beside its arguments and result it takes about 12 bytes a center.

    Args:
      centers: f32[K], ascending, K >= 1; or f32[K, B], each block of B values going to one
        codeword.
      values: f32[...]; with codewords of B values f32[n].

    Returns:
      values: of the same shape; snapping them again changes nothing (of blocks, but for
      codewords that are equal to rounding).

    Raises:
      DataError: an argument has another shape than these.

    References:
      FedCode, arXiv 2311.09270, section 3 (what a receiver of a codebook does with its own
      weights).

    Example:
      >>> import numpy as np
      >>> np.asarray(snap(jnp.array([0.0, 1.0]), jnp.array([0.2, 0.7, 5.0]))).tolist()
      [0.0, 1.0, 1.0]
    """
    centers, values = jnp.asarray(centers, jnp.float32), jnp.asarray(values, jnp.float32)
    if centers.ndim not in (1, 2) or centers.size == 0 or (centers.ndim == 2 and values.ndim != 1):
        raise DataError(
            f"codebook.snap: centers must be f32[K] or, for values f32[n], f32[K, B], not "
            f"{centers.shape} for values {values.shape}"
        )
    if centers.ndim == 2:
        rows = vectors.make_rows(values, None, centers.shape[1])
        return centers[vectors.encode_rows(rows, centers)].reshape(-1)[: values.size]
    return centers[_rank(_limits(centers), values)]


@randomness.standardised
def union(codebooks: jax.Array) -> jax.Array:
    """All centers of several codebooks, as one.

    Args:
      codebooks: f32[M, K]; or f32[M, K, B].

    Returns:
      centers: f32[M * K], ascending; equal centers stay. Codewords f32[M * K, B] keep their order.

    References:
      FedCode, arXiv 2311.09270, section 3 (the server's codebook of a codebook round).

    Example:
      >>> import numpy as np
      >>> np.asarray(union(jnp.array([[0.0, 2.0], [1.0, 3.0]]))).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    codebooks = jnp.asarray(codebooks, jnp.float32)
    if codebooks.ndim == 3:
        return codebooks.reshape(-1, codebooks.shape[-1])
    return jnp.sort(codebooks.reshape(-1))
