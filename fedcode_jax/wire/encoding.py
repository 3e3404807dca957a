"""From messages to bytes."""

import struct
import zlib

from fedcode_jax import randomness
from fedcode_jax.wire.decoding import check_claims
from fedcode_jax.wire.format import CHECKSUM, MAGIC, PREFIX, VERSION
from fedcode_jax.wire.kinds import Kind
from fedcode_jax.wire.message import Message, held, sent
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.table import handling_of, read_header


@randomness.standardised
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
      ValueError: the message is one that ``decode`` would refuse or not give back: a code that is
        not below the number of its centers, centers that descend or are not finite, floats that
        their type does not hold, more than 255 sections, a section beyond what its header can
        hold, more than a message may ask of a reader (see FORMAT.md).

    Example:
      >>> import numpy as np
      >>> from fedcode_jax.wire.decoding import decode
      >>> from fedcode_jax.wire.sections import Coded
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
        try:
            header, body = handling_of(section).write(section, kind, held(given, index))
        except struct.error as error:
            raise ValueError(f"a section beyond what its header can hold: {error}") from error
        headers.append(header)
        bodies.append(body)
    prefix = PREFIX.pack(MAGIC, VERSION, kind, len(message.sections))
    rest = b"".join(headers + bodies)
    try:
        reader = Reader(b"".join(headers))
        check_claims([read_header(reader, kind) for _ in headers], PREFIX.size + 4 + len(rest))
    except DecodeError as error:
        raise ValueError(f"a message that no reader takes: {error}") from error
    return prefix + CHECKSUM.pack(zlib.crc32(rest, zlib.crc32(prefix))) + rest
