"""Sections of values at some positions."""

import dataclasses
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire import gaps
from fedcode_jax.wire.format import SPARSE_TYPE
from fedcode_jax.wire.handling import Bytes, Header
from fedcode_jax.wire.inner import OuterHandling
from fedcode_jax.wire.kinds import Kind, carries_values
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import Coded, Sparse, code_width


class SparseHandling(OuterHandling[Sparse]):
    """Positions, and in their header and body those of the section of their values."""

    types = frozenset({SPARSE_TYPE})
    called = "a sparse section"

    def sent(self, section: Sparse, kind: Kind, known: Coded | None) -> Sparse | None:
        """See ``Handling``."""
        if not carries_values(kind):
            return None
        values = self.sent_values(section, kind)
        return Sparse(np.asarray(section.positions), values, section.size)

    def values(self, section: Sparse, size: int | None) -> jax.Array:
        """See ``Handling``."""
        positions = jnp.asarray(section.positions)
        values = self.inner(section).values(section.values, positions.shape[-1])
        places = jnp.zeros(section.size, jnp.float32).at[positions]
        return places.set(values, unique_indices=True, indices_are_sorted=True)

    def header_bytes(self, section: Sparse, kind: Kind, layers: int) -> int:
        """See ``Handling``; without that of the values."""
        return 14

    def size_bytes(
        self, section: Sparse, known: Coded | None, has_known: Any
    ) -> tuple[Bytes, Bytes]:
        """See ``Handling``."""
        self.check_coding(section)
        _, values = self.inner(section).size_bytes(section.values, None, False)
        return 0, 14 + gaps.num_bytes(section.positions, section.size) + values

    def most_bits(self, section: Sparse) -> int:
        """See ``Handling``."""
        positions = section.size + 8 * (15 + gaps.least_bytes(section.positions.shape[-1]))
        return positions + self.inner(section).most_bits(section.values)

    def formula_bits(self, section: Sparse) -> tuple[int, int]:
        """See ``Handling``."""
        _, values = self.inner(section).formula_bits(section.values)
        return 0, section.positions.shape[-1] * code_width(max(1, section.size)) + values

    def write(self, section: Sparse, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """See ``Handling``."""
        positions, size = np.asarray(section.positions), section.size
        self.check_coding(section)
        if positions.ndim != 1 or positions.dtype != np.int32 or not 0 <= size < 2**31:
            raise ValueError(f"positions {positions.shape} of {positions.dtype} below {size}")
        if positions.size and (positions[0] < 0 or positions[-1] >= size):
            raise ValueError(f"positions {positions[0]} .. {positions[-1]} of {size}")
        if not np.all(positions[1:] > positions[:-1]):
            raise ValueError("positions that do not ascend")
        header, body = self.inner(section).write(section.values, kind, None)
        inner = self.read_inner(Reader(header), kind)
        _check_count(inner, positions.size)
        b, packed = gaps.write(positions, size)
        own = struct.pack("<BIIBI", SPARSE_TYPE, size, positions.size, b, len(packed))
        return own + header, packed + body

    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """See ``Handling``."""
        size, count, b, packed = reader.unpack("<IIBI")
        if size >= 2**31 or count > size or b > 31 or packed < gaps.least_bytes(count):
            raise DecodeError(f"{count} of {size} positions in {packed} bytes, {b} bits of each")
        inner = self.read_inner(reader, kind)
        _check_count(inner, count)

        def read(reader: Reader, known: Coded | None) -> Sparse:
            try:
                positions = gaps.read(reader.take(packed), b, count, size)
            except DecodeError:
                raise
            except ValueError as error:
                raise DecodeError(f"the positions cannot be read: {error}") from error
            return Sparse(positions, inner.read(reader, None), size)

        return dataclasses.replace(inner, body_bytes=packed + inner.body_bytes, read=read)


def _check_count(values: Header, count: int) -> None:
    if values.codes != -(-count // values.block):
        raise DecodeError(f"{values.codes} values or blocks of {values.block} at {count} positions")
