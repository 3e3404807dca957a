"""What the byte format is made of, version 2, as ``FORMAT.md`` specifies it."""

import struct

from fedcode_jax.wire.message import CODINGS, FLOAT_TYPES

MAGIC = b"FJ"
VERSION = 2
PREFIX = struct.Struct("<2sBBB")  # magic, version, kind, number of sections
CHECKSUM = struct.Struct("<I")
MOST_CODEBOOK_VALUES = 2**18

DENSE_TYPES = {"float32": 1, "float16": 2, "bfloat16": 3}
"""The type byte of a section of floats."""

CODED_TYPES = {"fixed": 0, "entropy": 4, "adaptive": 5, "conditional": 6}
"""The type byte of a section of codes."""

ALWAYS = 0x40
"""Set in the type of a section of floats that codebook messages carry too."""

BLOCKS = 0x80
"""Set in the type of a coded section whose codewords are blocks."""

assert set(CODED_TYPES) == set(CODINGS)
assert set(DENSE_TYPES) == set(FLOAT_TYPES)
