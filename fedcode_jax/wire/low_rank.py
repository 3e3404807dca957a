"""Sections of a matrix of low rank."""

import math
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire.codings import pack, unpack
from fedcode_jax.wire.format import LOW_RANK_TYPE
from fedcode_jax.wire.handling import Bytes, Handling, Header, exact_floats
from fedcode_jax.wire.kinds import Kind
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import FACTOR_BITS, Coded, LowRank

_DROPPED = 24 - FACTOR_BITS
_WIDTH = 32 - _DROPPED
"""Bits of a number on the wire: sign, exponent, and those of the fraction that are not zero."""


class LowRankHandling(Handling[LowRank]):
    """The sizes n, m and r, then the two factors, row by row."""

    types = frozenset({LOW_RANK_TYPE})

    def values(self, section: LowRank, size: int | None) -> jax.Array:
        """See ``Handling``. Each product is exact, so that fusing it with its sum is nothing."""
        left, right = jnp.asarray(section.left), jnp.asarray(section.right)
        matrix = left[:, :1] * right[:, 0]
        for k in range(1, left.shape[1]):
            matrix = matrix + left[:, k : k + 1] * right[:, k]
        return matrix.reshape(-1)

    def header_bytes(self, section: LowRank, kind: Kind, layers: int) -> int:
        """See ``Handling``."""
        return 11

    def size_bytes(
        self, section: LowRank, known: Coded | None, has_known: Any
    ) -> tuple[Bytes, Bytes]:
        """See ``Handling``."""
        return 0, self.most_bits(section) // 8

    def most_bits(self, section: LowRank) -> int:
        """See ``Handling``."""
        return 8 * (11 + _packed_bytes(_numbers(section)))

    def formula_bits(self, section: LowRank) -> tuple[int, int]:
        """See ``Handling``; published factors are float32."""
        return 0, 32 * _numbers(section)

    def write(self, section: LowRank, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """See ``Handling``."""
        left, right = (exact_floats(f, "factors") for f in (section.left, section.right))
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
            raise ValueError(f"factors {left.shape} and {right.shape}: two matrices of r columns")
        n, m, r = len(left), len(right), left.shape[1]
        if not r or n * m >= 2**31:
            raise ValueError(f"a matrix of {n} x {m} of rank {r}")
        bits = np.concatenate([left.ravel(), right.ravel()]).view("<u4")
        if not _are_factors(bits):
            raise ValueError("factors must be finite and rounded as by wire.rounded_factor")
        codes = (bits >> _DROPPED).astype(np.uint32)
        return struct.pack("<BIIH", LOW_RANK_TYPE, n, m, r), pack(codes, 2**_WIDTH)

    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """See ``Handling``."""
        n, m, r = reader.unpack("<IIH")
        if not r or n * m >= 2**31:
            raise DecodeError(f"a matrix of {n} x {m} of rank {r}")
        count = (n + m) * r
        packed = _packed_bytes(count)

        def read(reader: Reader, known: Coded | None) -> LowRank:
            bits = unpack(reader.take(packed), count, 2**_WIDTH) << np.uint32(_DROPPED)
            if not _are_factors(bits):
                raise DecodeError("factors that a section of low rank does not have")
            factors = bits.view(np.float32).reshape(n + m, r)
            return LowRank(factors[:n], factors[n:])

        return Header(packed, read, count)


def _numbers(section: LowRank) -> int:
    return math.prod(section.left.shape[-2:]) + math.prod(section.right.shape[-2:])


def _packed_bytes(count: int) -> int:
    return (count * _WIDTH + 7) // 8


def _are_factors(bits: np.ndarray) -> bool:
    exponent = (bits >> 23) & 255
    # Zero, or from 2^-63 to below 2^64, so that a product is neither infinite nor subnormal.
    allowed = (bits << 1 == 0) | ((exponent >= 127 - 63) & (exponent <= 127 + 63))
    return bool(np.all(allowed & (bits & (2**_DROPPED - 1) == 0)))
