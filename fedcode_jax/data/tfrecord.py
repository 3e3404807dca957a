"""TFRecord files, read without TensorFlow, every checksum verified."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from fedcode_jax.errors import DataError


def records(file: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: u64 length, u32 check, bytes, u32 check, repeated.

    Each check is the CRC-32C (Castagnoli) c of the bytes before it, masked:
    ``((c >> 15 | c << 17) + 0xA282EAD8) mod 2^32``.

    Args:
      file: the file.

    Yields:
      The bytes of each record.

    Raises:
      DataError: a record is cut short, or a checksum does not match; it is named by its number,
        from 0.

    Source: https://www.tensorflow.org/tutorials/load_data/tfrecord.
    """
    with open(file, "rb") as stream:
        size, row = os.fstat(stream.fileno()).st_size, 0
        while head := stream.read(12):
            if len(head) < 12:
                raise _cut(file, row)
            if masked_crc(head[:8]) != head[8:]:
                raise _damaged(file, row, "length")
            (length,) = struct.unpack("<Q", head[:8])
            if length + 4 > size - stream.tell():
                raise _cut(file, row)
            data = stream.read(length)
            if masked_crc(data) != stream.read(4):
                raise _damaged(file, row, "data")
            yield data
            row += 1


def masked_crc(data: bytes) -> bytes:
    """The check of some bytes, as a file has it, four bytes.

    Example:
      >>> masked_crc(b"123456789").hex()
      'e5b08ac7'
    """
    import google_crc32c

    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _cut(file: Path, row: int) -> DataError:
    return DataError(f"{file}: cut short in record {row}; copy or prepare it again")


def _damaged(file: Path, row: int, what: str) -> DataError:
    return DataError(
        f"{file}: record {row} is damaged: the checksum of its {what} does not match; copy or "
        "prepare it again"
    )
