"""Sections of one bit a value."""

import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire.codings import pack, unpack
from fedcode_jax.wire.format import BITS_TYPE, SIGNS_TYPE
from fedcode_jax.wire.handling import Bytes, Handling, Header, exact_floats
from fedcode_jax.wire.kinds import Kind
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import Bits, Coded


class BitsHandling(Handling[Bits]):
    """Bits: a count, then the magnitude if there is one, then the bits."""

    types = frozenset({BITS_TYPE, SIGNS_TYPE})

    def values(self, section: Bits, size: int | None) -> jax.Array:
        """See ``Handling``."""
        bits = jnp.asarray(section.bits)
        if section.magnitude is None:
            return bits.astype(jnp.float32)
        magnitude = jnp.asarray(section.magnitude)
        return jnp.where(bits == 1, magnitude, -magnitude)

    def header_bytes(self, section: Bits, kind: Kind, layers: int) -> int:
        """See ``Handling``."""
        return 5

    def size_bytes(self, section: Bits, known: Coded | None, has_known: Any) -> tuple[Bytes, Bytes]:
        """See ``Handling``."""
        return 0, self.most_bits(section) // 8

    def most_bits(self, section: Bits) -> int:
        """See ``Handling``."""
        magnitude = 0 if section.magnitude is None else 4
        return 8 * (5 + magnitude + (section.bits.shape[-1] + 7) // 8)

    def formula_bits(self, section: Bits) -> tuple[int, int]:
        """See ``Handling``."""
        return 0, section.bits.shape[-1] + (0 if section.magnitude is None else 32)

    def write(self, section: Bits, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """See ``Handling``."""
        bits = np.asarray(section.bits)
        if bits.ndim != 1 or bits.dtype != np.uint8 or np.max(bits, initial=0) > 1:
            raise ValueError(f"bits {bits.shape} of {bits.dtype}: one row of u8, 0 or 1")
        head = struct.pack("<BI", BITS_TYPE, bits.size)
        if section.magnitude is None:
            return head, pack(bits, 2)
        magnitude = exact_floats(section.magnitude, "a magnitude")
        if magnitude.shape != () or not _is_magnitude(magnitude):
            raise ValueError(f"a magnitude of {magnitude}: one finite number >= 0")
        return struct.pack("<BI", SIGNS_TYPE, bits.size), magnitude.tobytes() + pack(bits, 2)

    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """See ``Handling``."""
        (size,) = reader.unpack("<I")
        has_magnitude = section_type == SIGNS_TYPE
        packed = (size + 7) // 8

        def read(reader: Reader, known: Coded | None) -> Bits:
            magnitude = None
            if has_magnitude:
                magnitude = np.frombuffer(reader.take(4), "<f4").astype(np.float32).reshape(())
                if not _is_magnitude(magnitude):
                    raise DecodeError(f"a magnitude of {magnitude}")
            return Bits(unpack(reader.take(packed), size, 2).astype(np.uint8), magnitude)

        return Header(packed + 4 * has_magnitude, read, size)


def _is_magnitude(magnitude: np.ndarray) -> bool:
    return bool(np.isfinite(magnitude) and magnitude >= 0)
