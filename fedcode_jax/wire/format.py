"""What the byte format is made of, version 3, as ``FORMAT.md`` specifies it."""

import struct

from fedcode_jax.wire.sections import CODINGS, FLOAT_TYPES

MAGIC = b"FJ"
VERSION = 3
PREFIX = struct.Struct("<2sBBB")  # magic, version, kind, number of sections
CHECKSUM = struct.Struct("<I")
MOST_CODEBOOK_VALUES = 2**18

VALUES_PER_BYTE = 2**12
"""A payload holds at most so many codes a byte, and is filled with zeros to that length: what
a forged count can make a reader allocate is bounded by the bytes that were sent."""

POSITIONS_PER_BYTE = 2**10
"""The same for the positions of sparse sections, which are wider."""

MOST_REPEATS = 2**20
"""Of all sections together: center values that a reader makes without having been sent them,
beyond one for each byte of the message."""

MOST_TABLE_ENTRIES, TABLE_ENTRIES_PER_BYTE = 2**26, 2**8
"""Of all sections together: probabilities that a reader computes, at all and for each byte."""

DENSE_TYPES = {"float32": 1, "float16": 2, "bfloat16": 3}
"""The type byte of a section of floats."""

CODED_TYPES = {"fixed": 0, "entropy": 4, "adaptive": 5, "conditional": 6}
"""The type byte of a section of codes."""

BITS_TYPE, SIGNS_TYPE = 16, 17
"""The type bytes of a section of bits, without and with a magnitude."""

LEVELS_TYPES = {"fixed": 32, "entropy": 33, "adaptive": 34}
"""The type byte of a section of levels."""

SPARSE_TYPE, ROTATED_TYPE, LOW_RANK_TYPE = 48, 49, 50

ALWAYS = 0x40
"""Set in the type of a section of floats that codebook messages carry too."""

BLOCKS = 0x80
"""Set in the type of a coded section whose codewords are blocks."""

assert set(CODED_TYPES) == set(CODINGS)
assert set(DENSE_TYPES) == set(FLOAT_TYPES)
