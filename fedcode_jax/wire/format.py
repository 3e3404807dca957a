"""The byte format, version 1, as ``FORMAT.md`` specifies it."""

import struct
import zlib

import numpy as np

from fedcode_jax.wire.message import Coded, Dense, Kind, Message, Section, code_width, sent

MAGIC = b"FJ"
VERSION = 1
_PREFIX = struct.Struct("<2sBBB")  # magic, version, kind, number of sections
_CHECKSUM = struct.Struct("<I")
_CODED, _DENSE32, _DENSE16 = 0, 1, 2
_DENSE_DTYPES = {_DENSE32: "float32", _DENSE16: "float16"}
_DENSE_TYPES = {dtype: code for code, dtype in _DENSE_DTYPES.items()}


class DecodeError(ValueError):
    """The bytes are not a message of this format: truncated, corrupted or foreign."""


def encode(message: Message) -> bytes:
    """Encodes a message to the bytes that are sent.

    Args:
      message: a message with concrete arrays (not traced).

    Returns:
      The bytes; ``b""`` for a message of kind NOTHING, for which nothing is sent and so
      nothing is decoded.

    Raises:
      ValueError: a code is not below the number of its centers, or there are more than 255
        sections.

    Example:
      >>> import numpy as np
      >>> section = Coded(np.float32([-1, 0, 2]), np.uint8([2, 0, 1, 1]))
      >>> data = encode(Message(np.int32(Kind.WEIGHTS), (section,)))
      >>> len(data), decode(data).sections[0].codes.tolist()
      (29, [2, 0, 1, 1])
    """
    message = sent(message)
    kind = Kind(int(message.kind))
    if kind == Kind.NOTHING:
        return b""
    if len(message.sections) > 255:
        raise ValueError(f"{len(message.sections)} sections: a message holds at most 255")
    headers, bodies = [], []
    for section in message.sections:
        if isinstance(section, Coded):
            num_clusters, n = len(section.centers), len(section.codes)
            headers.append(struct.pack("<BH", _CODED, num_clusters - 1))
            bodies.append(np.asarray(section.centers, "<f4").tobytes())
            if kind == Kind.WEIGHTS:
                headers.append(struct.pack("<I", n))
                bodies.append(_pack(np.asarray(section.codes), num_clusters))
        else:
            values = np.asarray(section.values)
            headers.append(struct.pack("<BI", _DENSE_TYPES[section.dtype], len(values)))
            bodies.append(values.astype(np.dtype(section.dtype).newbyteorder("<")).tobytes())
    prefix = _PREFIX.pack(MAGIC, VERSION, kind, len(message.sections))
    rest = b"".join(headers + bodies)
    return prefix + _CHECKSUM.pack(zlib.crc32(rest, zlib.crc32(prefix))) + rest


def decode(data: bytes) -> Message:
    """Decodes the bytes of one message.

    Nothing is allocated before the lengths that the headers claim add up to the length of
    ``data``, so that forged lengths cost nothing.

    Args:
      data: the bytes of exactly one message.

    Returns:
      The message, with NumPy arrays: what ``sent`` keeps of the one encoded. The codes of a
      codebook of one center are a read-only view that holds no memory.

    Raises:
      DecodeError: the bytes are truncated, corrupted, of another version or foreign.
    """
    reader = _Reader(data)
    magic, version, kind_byte, num_sections = reader.unpack(_PREFIX)
    if magic != MAGIC:
        raise DecodeError(f"these bytes do not start with {MAGIC!r}: not a message")
    if version != VERSION:
        raise DecodeError(f"format version {version}; this program reads version {VERSION}")
    if kind_byte not in (Kind.CODEBOOK, Kind.WEIGHTS):
        raise DecodeError(f"unknown kind of message {kind_byte}")
    (checksum,) = reader.unpack(_CHECKSUM)
    prefix_end = _PREFIX.size
    rest = memoryview(data)[prefix_end + _CHECKSUM.size :]
    if zlib.crc32(rest, zlib.crc32(data[:prefix_end])) != checksum:
        raise DecodeError("the checksum does not match: truncated or corrupted")
    kind = Kind(kind_byte)
    headers = [_read_header(reader, kind) for _ in range(num_sections)]
    expected = sum(_body_bytes(header, kind) for header in headers)
    if reader.left != expected:
        raise DecodeError(f"the sections claim {expected} bytes, {reader.left} are there")
    sections = tuple(_read_body(reader, header, kind) for header in headers)
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

    def unpack(self, layout: struct.Struct) -> tuple:
        return layout.unpack(self.take(layout.size))


_Header = tuple[int, int, int]  # type, number of clusters (coded), number of values


def _read_header(reader: _Reader, kind: Kind) -> _Header:
    (section_type,) = reader.unpack(struct.Struct("<B"))
    if section_type == _CODED:
        (num_clusters,) = reader.unpack(struct.Struct("<H"))
        (n,) = reader.unpack(struct.Struct("<I")) if kind == Kind.WEIGHTS else (0,)
        return section_type, num_clusters + 1, n
    if section_type in _DENSE_DTYPES and kind == Kind.WEIGHTS:
        (n,) = reader.unpack(struct.Struct("<I"))
        return section_type, 0, n
    raise DecodeError(f"a section of type {section_type} in a {kind.name.lower()} message")


def _body_bytes(header: _Header, kind: Kind) -> int:
    section_type, num_clusters, n = header
    if section_type != _CODED:
        return n * np.dtype(_DENSE_DTYPES[section_type]).itemsize
    codes = (n * code_width(num_clusters) + 7) // 8 if kind == Kind.WEIGHTS else 0
    return 4 * num_clusters + codes


def _read_body(reader: _Reader, header: _Header, kind: Kind) -> Section:
    section_type, num_clusters, n = header
    if section_type != _CODED:
        dtype = _DENSE_DTYPES[section_type]
        wire_dtype = np.dtype(dtype).newbyteorder("<")
        values = np.frombuffer(reader.take(n * wire_dtype.itemsize), wire_dtype)
        return Dense(values.astype(np.float32), dtype)
    centers = np.frombuffer(reader.take(4 * num_clusters), "<f4").astype(np.float32)
    if np.any(centers[1:] < centers[:-1]):
        raise DecodeError("the centers of a codebook are not ascending")
    return Coded(centers, _unpack(reader, n, num_clusters))


def _pack(codes: np.ndarray, num_clusters: int) -> bytes:
    """Codes in ceil(log2 K) bits each, least significant bit first, zero-padded to a byte."""
    if codes.size and int(codes.max()) >= num_clusters:
        raise ValueError(f"code {int(codes.max())} with {num_clusters} centers")
    shifts = np.arange(code_width(num_clusters), dtype=codes.dtype)
    bits = ((codes[:, None] >> shifts) & 1).astype(np.uint8)
    return np.packbits(bits.ravel(), bitorder="little").tobytes()


def _unpack(reader: _Reader, n: int, num_clusters: int) -> np.ndarray:
    dtype = np.uint8 if num_clusters <= 256 else np.uint16
    width = code_width(num_clusters)
    if width == 0:
        return np.broadcast_to(np.zeros((), dtype), (n,))
    packed = np.frombuffer(reader.take((n * width + 7) // 8), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")
    if bits[n * width :].any():
        raise DecodeError("the padding after the codes is not zero")
    shifts = np.arange(width, dtype=np.uint16)
    codes = (bits[: n * width].reshape(n, width).astype(np.uint16) << shifts).sum(
        axis=1, dtype=np.uint16
    )
    if n and int(codes.max()) >= num_clusters:
        raise DecodeError(f"code {int(codes.max())} with {num_clusters} centers")
    return codes.astype(dtype)
