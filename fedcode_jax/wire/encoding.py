"""From messages to bytes."""

import struct
import zlib

import numpy as np

from fedcode_jax.wire import codes as code_bytes
from fedcode_jax.wire.codes import Known
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
from fedcode_jax.wire.message import FLOAT_TYPES, Coded, Kind, Message, held, sent
from fedcode_jax.wire.sizes import block_size, used_centers


def encode(message: Message, *, given: Message | None = None) -> bytes:
    """Encodes a message to the bytes that are sent.

    Args:
      message: a message with concrete arrays (not traced).
      given: what the receiver holds: the last weights message exchanged with it (its codes
        and centers are what matters). Sections whose coding is conditional are coded given
        it; without a section that fits they are coded adaptively.

    Returns:
      The bytes; ``b""`` for a message of kind NOTHING, for which nothing is sent and so
      nothing is decoded.

    Raises:
      ValueError: a code is not below the number of its centers, there are more than 255
        sections, or a section is beyond what its header can hold.

    Example:
      >>> from fedcode_jax.wire.decoding import decode
      >>> section = Coded(np.float32([-1, 0, 2]), np.uint8([2, 0, 1, 1]))
      >>> data = encode(Message(np.int32(Kind.WEIGHTS), (section,)))
      >>> len(data), decode(data).sections[0].codes.tolist()
      (29, [2, 0, 1, 1])
    """
    message = sent(message, given=given)
    kind = Kind(int(message.kind))
    if kind == Kind.NOTHING:
        return b""
    if len(message.sections) > 255:
        raise ValueError(f"{len(message.sections)} sections: a message holds at most 255")
    headers, bodies = [], []
    for index, section in enumerate(message.sections):
        if isinstance(section, Coded):
            known = held(given, index, section.codes.shape)
            header, body = _coded_bytes(section, kind, known)
        else:
            section_type = DENSE_TYPES[section.dtype] | (ALWAYS if section.always else 0)
            header = struct.pack("<BI", section_type, len(section.values))
            wire_type = FLOAT_TYPES[section.dtype].newbyteorder("<")
            body = np.asarray(section.values).astype(wire_type).tobytes()
        headers.append(header)
        bodies.append(body)
    prefix = PREFIX.pack(MAGIC, VERSION, kind, len(message.sections))
    rest = b"".join(headers + bodies)
    return prefix + CHECKSUM.pack(zlib.crc32(rest, zlib.crc32(prefix))) + rest


def _coded_bytes(section: Coded, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
    """The header and the body of a coded section."""
    K, n, coding = section.num_clusters, len(section.codes), section.coding
    centers = np.asarray(section.centers, "<f4")
    if n and int(np.max(section.codes)) >= K:
        raise ValueError(f"code {int(np.max(section.codes))} with {K} centers")
    block = block_size(section)
    if K > 65536 or block > 256 or K * block > MOST_CODEBOOK_VALUES:
        raise ValueError(
            f"{K} centers of {block} values: a message holds at most 65,536 centers, blocks of "
            f"256, and {MOST_CODEBOOK_VALUES} values in one codebook"
        )
    header = struct.pack("<BH", CODED_TYPES[coding] | (BLOCKS if block > 1 else 0), K - 1)
    if block > 1:
        header += struct.pack("<B", block - 1)
    if coding == "fixed":
        if kind == Kind.CODEBOOK:
            return header, centers.tobytes()
        packed = code_bytes.pack(np.asarray(section.codes), K)
        return header + struct.pack("<I", n), centers.tobytes() + packed
    used = int(used_centers(section))
    header, body = header + struct.pack("<H", used - 1), centers[:used].tobytes()
    if kind == Kind.CODEBOOK:
        return header, body
    view = None
    if coding == "conditional":
        assert known is not None  # else ``sent`` made it adaptive
        view = Known.of(known, centers[:used])
    table, payload = code_bytes.write_codes(section, used, view)
    header += struct.pack("<II", n, len(payload))
    if coding == "adaptive":
        layers = section.layers if len(section.layers) > 1 else ()
        if len(layers) > 65535 or (layers and sum(layers) != n):
            raise ValueError(f"{len(layers)} layers of {sum(layers)} codes, not {n}")
        header += struct.pack(f"<H{len(layers)}I", len(layers), *layers)
    if view is not None:
        header += struct.pack("<I", view.checksum)
    return header, body + table + payload
