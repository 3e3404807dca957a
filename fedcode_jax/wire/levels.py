"""Sections of small whole numbers with scales."""

import dataclasses
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire import code_lengths, codings, part_sizes
from fedcode_jax.wire.format import LEVELS_TYPES
from fedcode_jax.wire.handling import Bytes, Handling, Header, exact_floats
from fedcode_jax.wire.kinds import Kind, carries_values
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import SCALE_BITS, Coded, Levels, code_width

_NAMES = {code: coding for coding, code in LEVELS_TYPES.items()}


class LevelsHandling(Handling[Levels]):
    """Levels: the parts, then a scale for each, then level + limit as codes."""

    types = frozenset(_NAMES)

    def sent(self, section: Levels, kind: Kind, known: Coded | None) -> Levels | None:
        """See ``Handling``; one part is no parts."""
        if not carries_values(kind):
            return None
        section = jax.tree.map(np.asarray, section)
        if section.parts == (section.levels.size,):
            return dataclasses.replace(section, parts=())
        return section

    def is_entropy_coded(self, section: Levels) -> bool:
        """See ``Handling``."""
        return section.coding != "fixed"

    def values(self, section: Levels, size: int | None) -> jax.Array:
        """See ``Handling``."""
        levels, scales = jnp.asarray(section.levels), jnp.asarray(section.scales)
        said = part_sizes.named(section.parts)
        if len(said) == 1:
            scales = jnp.repeat(scales, said[0])[: levels.size]
        elif said:
            scales = jnp.repeat(scales, np.array(said), total_repeat_length=levels.size)
        return scales * levels.astype(jnp.float32)

    def header_bytes(self, section: Levels, kind: Kind, layers: int) -> int:
        """See ``Handling``."""
        said = part_sizes.named(section.parts)
        return 8 + 4 * len(said) + (0 if section.coding == "fixed" else 4)

    def size_bytes(
        self, section: Levels, known: Coded | None, has_known: Any
    ) -> tuple[Bytes, Bytes]:
        """See ``Handling``."""
        n, K = section.levels.shape[-1], 2 * section.limit + 1
        size = self.header_bytes(section, Kind.WEIGHTS, 1) + 4 * section.scales.shape[-1]
        if section.coding == "fixed":
            return 0, size + (n * code_width(K) + 7) // 8
        if not n:
            return 0, size
        codes = (jnp.asarray(section.levels).astype(jnp.int32) + section.limit).astype(jnp.uint8)
        if section.coding == "entropy":
            return 0, size + K + code_lengths.payload_bytes(
                code_lengths.static_bits(codes, K, K), n
            )
        bits = code_lengths.adaptive_bits(codes, K, K, section.parts or (n,))
        return 0, size + code_lengths.payload_bytes(bits, n)

    def most_bits(self, section: Levels) -> int:
        """See ``Handling``."""
        n, parts = section.levels.shape[-1], section.scales.shape[-1]
        beside = self.header_bytes(section, Kind.WEIGHTS, 1) + 4 * parts
        return n * code_width(2 * section.limit + 1) + 8 * (1 + beside)

    def formula_bits(self, section: Levels) -> tuple[int, int]:
        """See ``Handling``."""
        n, parts = section.levels.shape[-1], section.scales.shape[-1]
        return 0, n * code_width(2 * section.limit + 1) + 32 * parts

    def write(self, section: Levels, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """See ``Handling``."""
        scales, parts, limit = _checked(section), section.parts, section.limit
        codes = (np.asarray(section.levels).astype(np.int16) + limit).astype(np.uint8)
        header = struct.pack("<BIB", LEVELS_TYPES[section.coding], codes.size, limit)
        said = part_sizes.named(parts)
        header += struct.pack(f"<H{len(said)}I", len(said), *said)
        if section.coding == "fixed":
            return header, scales.tobytes() + codings.pack(codes, 2 * limit + 1)
        table, payload = codings.write_codes(codes, section.coding, 2 * limit + 1, parts, None)
        return header + struct.pack("<I", len(payload)), scales.tobytes() + table + payload

    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """See ``Handling``."""
        coding = _NAMES[section_type]
        size, limit = reader.unpack("<IB")
        if not 1 <= limit <= 127:
            raise DecodeError(f"levels up to {limit}")
        K, said = 2 * limit + 1, part_sizes.read(reader, size)
        table = K if coding == "entropy" and size else 0
        entries = table
        if coding == "fixed":
            payload = (size * code_width(K) + 7) // 8
        else:
            (payload,) = reader.unpack("<I")
            codings.check_payload(size, payload)
        if coding == "adaptive":
            entries = K * part_sizes.num_blocks(said, size)
        num_scales = part_sizes.count(said, size)

        def read(reader: Reader, known: Coded | None) -> Levels:
            scales = np.frombuffer(reader.take(4 * num_scales), "<f4").astype(np.float32)
            if not _are_scales(scales):
                raise DecodeError("scales that a section of levels does not have")
            levels = codings.read_table(reader, K) if table else None
            packed, parts = reader.take(payload), part_sizes.unfolded(said, size)
            if coding == "fixed":
                codes = codings.unpack(packed, size, K)
            else:
                codes = codings.read_codes(packed, size, K, levels=levels, layers=parts, known=None)
            if size and int(codes.max()) >= K:
                raise DecodeError(f"a level of {int(codes.max()) - limit} beyond {limit}")
            found = (codes.astype(np.int16) - limit).astype(np.int8)
            return Levels(found, scales, limit, parts, coding)

        return Header(4 * num_scales + table + payload, read, size, entries=entries)


def _checked(section: Levels) -> np.ndarray:
    """The scales of a section in which everything is as it must be."""
    levels, scales = np.asarray(section.levels), exact_floats(section.scales, "scales")
    parts, limit = section.parts, section.limit
    if section.coding not in LEVELS_TYPES or not 1 <= limit <= 127:
        raise ValueError(f"levels up to {limit} coded {section.coding}")
    if levels.ndim != 1 or levels.dtype != np.int8:
        raise ValueError(f"levels {levels.shape} of {levels.dtype}: one row of i8")
    if levels.size and max(-int(levels.min()), int(levels.max())) > limit:
        raise ValueError(f"a level beyond {limit}")
    if parts and (min(parts) < 0 or sum(parts) != levels.size):
        raise ValueError(f"{len(parts)} parts of {sum(parts)} levels, not {levels.size}")
    if len(part_sizes.named(parts)) > 65535:
        raise ValueError(f"{len(parts)} parts of different sizes; a header says 65,535 at most")
    if scales.shape != (len(parts) or 1,):
        raise ValueError(f"scales {scales.shape} of {len(parts) or 1} parts")
    if not _are_scales(scales):
        raise ValueError("scales must be finite, >= 0 and rounded as by wire.rounded_scales")
    return scales


def _are_scales(scales: np.ndarray) -> bool:
    bits = scales.view(np.uint32)
    # Not negative, not a subnormal number, finite, and zero in the bits that are rounded off.
    exponent = bits >> 23
    allowed = (bits == 0) | ((exponent >= 1) & (exponent <= 254))
    return bool(np.all(allowed & (bits & (2 ** (24 - SCALE_BITS) - 1) == 0)))
