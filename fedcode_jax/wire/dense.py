"""Sections of floats."""

import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire.format import ALWAYS, DENSE_TYPES
from fedcode_jax.wire.handling import Bytes, Handling, Header, exact_floats, only_if
from fedcode_jax.wire.kinds import Array, Kind, carries_values
from fedcode_jax.wire.reading import Reader
from fedcode_jax.wire.sections import FLOAT_TYPES, Coded, Dense

_NAMES = {code: dtype for dtype, code in DENSE_TYPES.items()}


class DenseHandling(Handling[Dense]):
    """Floats: a count, then the floats; the only section that may be in all messages whole."""

    types = frozenset(_NAMES) | {code | ALWAYS for code in _NAMES}

    def in_codebook(self, section_type: int) -> bool:
        """See ``Handling``."""
        return bool(section_type & ALWAYS)

    def sent(self, section: Dense, kind: Kind, known: Coded | None) -> Dense | None:
        """See ``Handling``."""
        if not carries_values(kind) and not section.always:
            return None
        return Dense(np.asarray(section.values), section.dtype, section.always)

    def carried(self, section: Dense, codebook: Array, values: Array) -> Dense:
        """See ``Handling``."""
        there = codebook if section.always else values
        return Dense(only_if(there, section.values), section.dtype, section.always)

    def reference(self, section: Dense) -> Dense:
        """See ``Handling``: floats tell nothing about codes."""
        return Dense(section.values[..., :0], section.dtype)

    def values(self, section: Dense, size: int | None) -> jax.Array:
        """See ``Handling``."""
        return jnp.asarray(section.values)

    def header_bytes(self, section: Dense, kind: Kind, layers: int) -> int:
        """See ``Handling``."""
        return 5

    def size_bytes(
        self, section: Dense, known: Coded | None, has_known: Any
    ) -> tuple[Bytes, Bytes]:
        """See ``Handling``."""
        size = self.most_bits(section) // 8
        return size * section.always, size

    def most_bits(self, section: Dense) -> int:
        """See ``Handling``."""
        return 8 * (5 + section.values.shape[-1] * FLOAT_TYPES[section.dtype].itemsize)

    def formula_bits(self, section: Dense) -> tuple[int, int]:
        """See ``Handling``."""
        bits = 32 * section.values.shape[-1]
        return bits * section.always, bits

    def write(self, section: Dense, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """See ``Handling``."""
        values = exact_floats(section.values, "floats")
        if section.dtype not in DENSE_TYPES or values.ndim != 1:
            raise ValueError(f"floats {values.shape} of {section.dtype}: one row of a known type")
        section_type = DENSE_TYPES[section.dtype] | (ALWAYS if section.always else 0)
        with np.errstate(over="ignore", invalid="ignore"):
            written = values.astype(FLOAT_TYPES[section.dtype].newbyteorder("<"))
        if not np.array_equal(written.astype(np.float32), values, equal_nan=True):
            raise ValueError(f"floats that {section.dtype} does not hold; see Dense.rounded")
        return struct.pack("<BI", section_type, len(values)), written.tobytes()

    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """See ``Handling``."""
        (size,) = reader.unpack("<I")
        dtype = _NAMES[section_type & ~ALWAYS]
        wire_type = FLOAT_TYPES[dtype].newbyteorder("<")
        body_bytes = size * wire_type.itemsize

        def read(reader: Reader, known: Coded | None) -> Dense:
            values = np.frombuffer(reader.take(body_bytes), wire_type)
            return Dense(values.astype(np.float32), dtype, bool(section_type & ALWAYS))

        return Header(body_bytes, read, size)
