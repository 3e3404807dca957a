"""What a message is made of: sections, each of which stands for a group of values."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire.kinds import Array

CODINGS = ("fixed", "entropy", "adaptive", "conditional")
"""How codes are written: ceil(log2 K) bits each; by an entropy coder with a table of frequencies,
with frequencies learnt on the way (per layer), or with those given what the receiver holds."""

FLOAT_TYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(jnp.bfloat16),
}
"""The formats of floats on the wire."""

SCALE_BITS = 16
"""Significant bits of a scale: times a level of 7 bits it is a float32 without rounding, so
that no compiler's fused product and sum can make it another value."""

FACTOR_BITS = 12
"""Significant bits of a factor of a matrix of low rank, for the same reason."""


def _static(default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Coded:
    """A group of values as a codebook and codes: value i is ``centers[codes[i]]``.

    Attributes:
      centers: f32[K], finite and ascending; or f32[K, B], codewords of B consecutive values each.
        A codebook that needs fewer centers repeats its last one.
      codes: u8[m] for K <= 256, else u16[m]; m = n, or ceil(n / B).
      coding: one of ``CODINGS``.
      layers: the number of codes of each layer, in order, for codings that learn layer by
        layer; empty for one layer.
    """

    centers: Array
    codes: Array
    coding: str = _static("fixed")
    layers: tuple[int, ...] = _static(())

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.centers.shape[-1 if self.centers.ndim == self.codes.ndim else -2]

    @property
    def block(self) -> int:
        """B, the values that one code stands for."""
        return 1 if self.centers.ndim == self.codes.ndim else self.centers.shape[-1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """A group of values as floats.

    Attributes:
      values: f32[n]; these are values that ``dtype`` represents, so that what the receiver
        reads is what the sender meant (see ``rounded``).
      dtype: one of ``FLOAT_TYPES``, the format on the wire.
      always: sent in codebook messages too.
    """

    values: Array
    dtype: str = _static("float32")
    always: bool = _static(False)

    @classmethod
    def rounded(cls, values: jax.Array, dtype: str) -> "Dense":
        """A section of the values nearest to ``values`` that ``dtype`` holds, kept finite."""
        if dtype != "float32":
            limit = float(jnp.finfo(FLOAT_TYPES[dtype]).max)
            values = jnp.clip(values, -limit, limit).astype(FLOAT_TYPES[dtype]).astype(jnp.float32)
        return cls(values, dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bits:
    """A group of values of one bit each.

    Attributes:
      bits: u8[n] of 0 and 1; value i is ``bits[i]``.
      magnitude: None, or f32[], finite and >= 0: then value i is +magnitude where the bit is 1
        and -magnitude where it is 0.
    """

    bits: Array
    magnitude: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Levels:
    """A group of values as small whole numbers with a scale for each part.

    Value i is ``scales[p] * levels[i]``, p being the part that i lies in.

    Attributes:
      levels: i8[n], none beyond ``limit``.
      scales: f32[P], made by ``rounded_scales``.
      limit: 1 .. 127.
      parts: the number of values of each part, in order, n together; empty for one part. Equal
        ones, of which the last may be shorter, take 4 bytes in all; others 4 each, and there are
        at most 65,535 of them.
      coding: one of ``CODINGS`` but "conditional"; "adaptive" learns part by part.
    """

    levels: Array
    scales: Array
    limit: int = _static(127)
    parts: tuple[int, ...] = _static(())
    coding: str = _static("fixed")

    @classmethod
    def rounded(
        cls,
        levels: Array,
        scales: Array,
        limit: int,
        parts: tuple[int, ...] = (),
        coding: str = "fixed",
    ) -> "Levels":
        """A section with the scales nearest to ``scales`` that are allowed."""
        return cls(levels, rounded_scales(scales), limit, parts, coding)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sparse:
    """A group of values of which most are zero.

    Attributes:
      positions: i32[k], ascending and distinct, below ``size``.
      values: a section of k values, those at the positions; all others are 0. Its coding is not
        "conditional".
      size: n, below 2^31.
    """

    positions: Array
    values: Dense | Coded | Bits
    size: int = _static(0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rotated:
    """A group of values as those of a vector that was rotated, all or some of them.

    Stands for ``rotate_back`` of the vector that has the values where ``rotation.kept`` says, and
    0 elsewhere.

    Attributes:
      values: a section of k values, k <= n; of blocks, those that go beyond n do not count. Its
        coding is not "conditional".
      seed: u32[], which rotation, and which values.
      size: n, below 2^31.
    """

    values: Bits | Coded
    seed: Array
    size: int = _static(0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LowRank:
    """A group of values as a matrix of low rank, row by row, which is a product of two factors.

    Value i m + j is ``sum_k left[i, k] right[j, k]``, the terms added in the order of k.

    Attributes:
      left: f32[n, r], made by ``rounded_factor``.
      right: f32[m, r], likewise; n m is below 2^31.
    """

    left: Array
    right: Array


Section = Coded | Dense | Bits | Levels | Sparse | Rotated | LowRank


def rounded_scales(scales: Array) -> jax.Array:
    """The nearest scales that ``Levels`` allows: 16 significant bits, no subnormal numbers.

    Args:
      scales: f32[...], >= 0.

    Returns:
      f32[...], finite where ``scales`` are numbers.

    Example:
      >>> rounded_scales(jnp.float32([1.0, 0.1, 1e-39])).tolist()
      [1.0, 0.10000038146972656, 0.0]
    """
    largest = np.float32((2 - 2.0 ** (1 - SCALE_BITS)) * 2.0**127)
    scales = jnp.minimum(jnp.asarray(scales, jnp.float32), largest)
    rounded = jax.lax.reduce_precision(scales, 8, SCALE_BITS - 1)
    return jnp.where(jnp.abs(scales) < np.float32(2.0**-126), 0, rounded)


def rounded_factor(factor: Array) -> jax.Array:
    """The nearest factor that ``LowRank`` allows: 12 significant bits, 0 or from 2^-63 to 2^64.

    Args:
      factor: f32[...].

    Returns:
      f32[...], finite where ``factor`` is a number.

    Example:
      >>> rounded_factor(jnp.float32([1.0, -0.1, 1e-20])).tolist()
      [1.0, -0.100006103515625, 0.0]
    """
    largest = np.float32((2 - 2.0 ** (1 - FACTOR_BITS)) * 2.0**63)
    factor = jnp.clip(jnp.asarray(factor, jnp.float32), -largest, largest)
    rounded = jax.lax.reduce_precision(factor, 8, FACTOR_BITS - 1)
    return jnp.where(jnp.abs(rounded) < np.float32(2.0**-63), 0, rounded)


def code_width(num_clusters: int) -> int:
    """Bits of one fixed-width code, ceil(log2 K).

    Example:
      >>> [code_width(k) for k in (1, 2, 3, 64, 65, 65536)]
      [0, 1, 2, 6, 7, 16]
    """
    return (num_clusters - 1).bit_length()
