"""From bytes to messages, or a DecodeError."""

import dataclasses
import struct
import zlib

import numpy as np

from fedcode_jax.wire import codes as code_bytes
from fedcode_jax.wire.codes import Known
from fedcode_jax.wire.entropy import VALUES_PER_BYTE
from fedcode_jax.wire.format import (
    ALWAYS,
    BLOCKS,
    CHECKSUM,
    CODED_TYPES,
    DENSE_TYPES,
    MAGIC,
    MOST_CODEBOOK_VALUES,
    PREFIX,
    VERSION,
)
from fedcode_jax.wire.message import FLOAT_TYPES, Coded, Dense, Kind, Message, Section, held
from fedcode_jax.wire.models import LEVELS
from fedcode_jax.wire.sizes import code_width

_DENSE_NAMES = {code: dtype for dtype, code in DENSE_TYPES.items()}
_CODED_NAMES = {code: coding for coding, code in CODED_TYPES.items()}


class DecodeError(ValueError):
    """The bytes are not a message of this format: truncated, corrupted or foreign."""


def decode(data: bytes, *, given: Message | None = None) -> Message:
    """Decodes the bytes of one message.

    Nothing is allocated before the lengths that the headers claim add up to the length of
    ``data``, and no more than 4,096 codes for each byte of an entropy-coded payload, so that
    forged lengths cost little.

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
    reader = _Reader(data)
    magic, version, kind_byte, num_sections = reader.unpack(PREFIX.format)
    if magic != MAGIC:
        raise DecodeError(f"these bytes do not start with {MAGIC!r}: not a message")
    if version != VERSION:
        raise DecodeError(f"format version {version}; this program reads version {VERSION}")
    if kind_byte not in (Kind.CODEBOOK, Kind.WEIGHTS):
        raise DecodeError(f"unknown kind of message {kind_byte}")
    (checksum,) = reader.unpack(CHECKSUM.format)
    prefix_end = PREFIX.size
    rest = memoryview(data)[prefix_end + CHECKSUM.size :]
    if zlib.crc32(rest, zlib.crc32(data[:prefix_end])) != checksum:
        raise DecodeError("the checksum does not match: truncated or corrupted")
    kind = Kind(kind_byte)
    headers = [_read_header(reader, kind) for _ in range(num_sections)]
    expected = sum(header.body_bytes for header in headers)
    if reader.left != expected:
        raise DecodeError(f"the sections claim {expected} bytes, {reader.left} are there")
    sections = tuple(
        _read_body(reader, header, held(given, index, (header.size,)))
        for index, header in enumerate(headers)
    )
    return Message(np.asarray(kind, np.int32), sections)


class _Reader:
    """Reads forward through bytes, and says so when they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise DecodeError(f"truncated: {size} bytes wanted, {self.left} left")
        self._position += size
        return self._data[self._position - size : self._position]

    def unpack(self, layout: str) -> tuple:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))


@dataclasses.dataclass(frozen=True)
class _Header:
    """What a section's header says; size counts floats or codes, 0 where none are sent."""

    size: int
    body_bytes: int
    dtype: str = ""
    always: bool = False
    coding: str = ""
    num_clusters: int = 0
    block: int = 1
    used: int = 0
    payload: int = 0
    layers: tuple[int, ...] = ()
    reference: int | None = None


def _read_header(reader: _Reader, kind: Kind) -> _Header:
    (section_type,) = reader.unpack("<B")
    dtype, always = _DENSE_NAMES.get(section_type & ~ALWAYS), bool(section_type & ALWAYS)
    if dtype is not None and (always or kind == Kind.WEIGHTS):
        (size,) = reader.unpack("<I")
        return _Header(size, size * FLOAT_TYPES[dtype].itemsize, dtype, always)
    coding = _CODED_NAMES.get(section_type & ~BLOCKS)
    if coding is None:
        raise DecodeError(f"a section of type {section_type} in a {kind.name.lower()} message")
    K = reader.unpack("<H")[0] + 1
    block = reader.unpack("<B")[0] + 1 if section_type & BLOCKS else 1
    if (section_type & BLOCKS) and block == 1:
        raise DecodeError("a section of blocks whose codewords hold one value")
    used = K if coding == "fixed" else reader.unpack("<H")[0] + 1
    if used > K or K * block > MOST_CODEBOOK_VALUES:
        raise DecodeError(f"{used} centers used of {K} centers of {block} values")
    centers = 4 * used * block
    if kind == Kind.CODEBOOK:
        return _Header(0, centers, coding=coding, num_clusters=K, block=block, used=used)
    (size,) = reader.unpack("<I")
    if coding == "fixed":
        packed = (size * code_width(K) + 7) // 8
        body = centers + packed
        return _Header(size, body, "", False, coding, K, block, used, packed)
    (payload,) = reader.unpack("<I")
    if size > payload * VALUES_PER_BYTE or payload % 4:
        raise DecodeError(f"{size} codes in a payload of {payload} bytes")
    layers, reference = (), None
    if coding == "adaptive":
        (count,) = reader.unpack("<H")
        layers = reader.unpack(f"<{count}I")
        if count and (count == 1 or sum(layers) != size):
            raise DecodeError(f"{count} layers of {sum(layers)} codes; {size} are there")
    if coding == "conditional":
        (reference,) = reader.unpack("<I")
    table = used if coding == "entropy" and size else 0
    body = centers + table + payload
    return _Header(size, body, "", False, coding, K, block, used, payload, layers, reference)


def _read_body(reader: _Reader, header: _Header, known: Coded | None) -> Section:
    if header.dtype:
        wire_type = FLOAT_TYPES[header.dtype].newbyteorder("<")
        values = np.frombuffer(reader.take(header.size * wire_type.itemsize), wire_type)
        return Dense(values.astype(np.float32), header.dtype, header.always)
    centers = _read_centers(reader, header)
    try:
        codes = _read_codes(reader, header, centers, known)
    except DecodeError:
        raise
    except Exception as error:  # the coder's own complaints about bytes it cannot have written
        raise DecodeError(f"the codes cannot be read: {error}") from error
    # Codes that are all the same are a view of one, which stands for any number of them.
    distinct = codes[:1] if codes.strides == (0,) else codes
    if header.size and int(distinct.max()) >= header.used:
        raise DecodeError(f"code {int(distinct.max())} with {header.used} centers")
    distinct = distinct.astype(np.uint8 if header.num_clusters <= 256 else np.uint16, copy=False)
    codes = np.broadcast_to(distinct, codes.shape) if codes.strides == (0,) else distinct
    return Coded(centers, codes, header.coding, header.layers)


def _read_centers(reader: _Reader, header: _Header) -> np.ndarray:
    values = reader.take(4 * header.used * header.block)
    centers = np.frombuffer(values, "<f4").astype(np.float32)
    if header.block > 1:
        centers = centers.reshape(header.used, header.block)
    elif not np.all(centers[1:] >= centers[:-1]):
        raise DecodeError("the centers of a codebook are not ascending")
    repeats = header.num_clusters - header.used
    return np.concatenate([centers, np.repeat(centers[-1:], repeats, axis=0)])


def _read_codes(
    reader: _Reader, header: _Header, centers: np.ndarray, known: Coded | None
) -> np.ndarray:
    if header.coding == "fixed":
        return code_bytes.unpack(reader.take(header.payload), header.size, header.num_clusters)
    levels = None
    if header.coding == "entropy" and header.size:
        levels = np.frombuffer(reader.take(header.used), np.uint8)
        if not 1 <= levels.max() <= LEVELS:
            raise DecodeError("a table of frequencies that no writer makes")
    view = None
    if header.reference is not None:
        if known is None:
            raise DecodeError("coded given an earlier message; pass it as given=")
        view = Known.of(known, centers[: header.used])
        if view.checksum != header.reference:
            raise DecodeError("coded given another message than the one passed as given=")
    return code_bytes.read_codes(
        reader.take(header.payload),
        header.size,
        header.used,
        levels=levels,
        layers=header.layers,
        known=view,
    )
