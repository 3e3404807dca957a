"""From bytes to messages, or a DecodeError."""

import zlib
from collections.abc import Sequence

import numpy as np

from fedcode_jax import randomness
from fedcode_jax.wire.format import (
    CHECKSUM,
    MAGIC,
    MOST_REPEATS,
    MOST_TABLE_ENTRIES,
    PREFIX,
    TABLE_ENTRIES_PER_BYTE,
    VERSION,
)
from fedcode_jax.wire.handling import Header
from fedcode_jax.wire.kinds import Kind
from fedcode_jax.wire.message import Message, held
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.table import read_header

__all__ = ["DecodeError", "check_claims", "decode"]


@randomness.standardised
def decode(data: bytes, *, given: Message | None = None) -> Message:
    """Decodes the bytes of one message.

    Nothing is allocated before the lengths that the headers claim add up to the length of
    ``data``, and what all sections together ask for is within what ``FORMAT.md`` allows for that
    length, so that forged headers cost little.

    Args:
      data: the bytes of exactly one message.
      given: what was given to ``encode``; needed if a section was coded given it.

    Returns:
      The message, with NumPy arrays: what ``sent`` keeps of the one encoded. Where all codes
      must be the same they are a read-only view that holds no memory.

    Raises:
      DecodeError: the bytes are truncated, corrupted, of another version or foreign, or were
        coded given something else.
    """
    reader = Reader(data)
    magic, version, kind_byte, num_sections = reader.unpack(PREFIX.format)
    if magic != MAGIC:
        raise DecodeError(f"these bytes do not start with {MAGIC!r}: not a message")
    if version != VERSION:
        raise DecodeError(f"format version {version}; this program reads version {VERSION}")
    if kind_byte not in tuple(Kind) or kind_byte == Kind.NOTHING:
        raise DecodeError(f"unknown kind of message {kind_byte}")
    (checksum,) = reader.unpack(CHECKSUM.format)
    prefix_end = PREFIX.size
    rest = memoryview(data)[prefix_end + CHECKSUM.size :]
    if zlib.crc32(rest, zlib.crc32(data[:prefix_end])) != checksum:
        raise DecodeError("the checksum does not match: truncated or corrupted")
    kind = Kind(kind_byte)
    headers = [read_header(reader, kind) for _ in range(num_sections)]
    expected = sum(header.body_bytes for header in headers)
    if reader.left != expected:
        raise DecodeError(f"the sections claim {expected} bytes, {reader.left} are there")
    check_claims(headers, len(data))
    sections = tuple(
        header.read(reader, held(given, index)) for index, header in enumerate(headers)
    )
    return Message(np.asarray(kind, np.int32), sections)


def check_claims(headers: Sequence[Header], num_bytes: int) -> None:
    """Refuses headers that ask together for more than a message may.

    Args:
      headers: of all sections.
      num_bytes: length of the message.

    Raises:
      DecodeError: they do.
    """
    repeats = sum(header.repeats for header in headers)
    if repeats > MOST_REPEATS + num_bytes:
        raise DecodeError(f"{repeats} repeated values of centers in {num_bytes} bytes")
    entries = sum(header.entries for header in headers)
    if entries > MOST_TABLE_ENTRIES + TABLE_ENTRIES_PER_BYTE * num_bytes:
        raise DecodeError(f"{entries} probabilities to compute for {num_bytes} bytes")
