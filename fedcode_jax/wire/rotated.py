"""Sections of values of a rotated vector."""

import dataclasses
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire import rotation
from fedcode_jax.wire.format import ROTATED_TYPE
from fedcode_jax.wire.handling import Bytes, Header
from fedcode_jax.wire.inner import OuterHandling
from fedcode_jax.wire.kinds import Kind, carries_values
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import Coded, Rotated


class RotatedHandling(OuterHandling[Rotated]):
    """The number of all values and the seed, and then the section of the rotated ones."""

    types = frozenset({ROTATED_TYPE})
    called = "a rotated section"

    def sent(self, section: Rotated, kind: Kind, known: Coded | None) -> Rotated | None:
        """See ``Handling``."""
        if not carries_values(kind):
            return None
        values = self.sent_values(section, kind)
        return Rotated(values, np.asarray(section.seed), section.size)

    def values(self, section: Rotated, size: int | None) -> jax.Array:
        """See ``Handling``."""
        n, seed = section.size, jnp.asarray(section.seed)
        turned = self.inner(section).values(section.values, None)[:n]
        if turned.size < n:
            places = rotation.kept(turned.size, n, seed)
            turned = jnp.zeros(n).at[places].set(turned, unique_indices=True)
        return rotation.rotate_back(turned, seed)

    def header_bytes(self, section: Rotated, kind: Kind, layers: int) -> int:
        """See ``Handling``; without that of the values."""
        return 9

    def size_bytes(
        self, section: Rotated, known: Coded | None, has_known: Any
    ) -> tuple[Bytes, Bytes]:
        """See ``Handling``."""
        self.check_coding(section)
        return 0, 9 + self.inner(section).size_bytes(section.values, None, False)[1]

    def most_bits(self, section: Rotated) -> int:
        """See ``Handling``."""
        return 8 * 9 + self.inner(section).most_bits(section.values)

    def formula_bits(self, section: Rotated) -> tuple[int, int]:
        """See ``Handling``."""
        return 0, 32 + self.inner(section).formula_bits(section.values)[1]

    def write(self, section: Rotated, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """See ``Handling``."""
        seed, size = np.asarray(section.seed), section.size
        self.check_coding(section)
        if seed.shape != () or seed.dtype != np.uint32 or not 0 <= size < 2**31:
            raise ValueError(f"a seed {seed.shape} of {seed.dtype} for {size} values: u32[]")
        header, body = self.inner(section).write(section.values, kind, None)
        inner = self.read_inner(Reader(header), kind)
        _check_count(inner, size)
        return struct.pack("<BII", ROTATED_TYPE, size, int(seed)) + header, body

    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """See ``Handling``."""
        size, seed = reader.unpack("<II")
        if size >= 2**31:
            raise DecodeError(f"{size} rotated values")
        inner = self.read_inner(reader, kind)
        _check_count(inner, size)

        def read(reader: Reader, known: Coded | None) -> Rotated:
            return Rotated(inner.read(reader, None), np.asarray(seed, np.uint32), size)

        return dataclasses.replace(inner, read=read)


def _check_count(values: Header, size: int) -> None:
    if values.codes > -(-size // values.block):
        raise DecodeError(f"{values.codes} values or blocks of {values.block} of {size} in all")
