"""Messages, their byte format and their measured sizes.

``encode`` and ``decode`` turn a message into real bytes and back; ``size_bits`` is the
length of those bytes, in bits, computed inside a jitted program; ``values`` is what a section
stands for. ``FORMAT.md`` beside this file specifies the bytes.
"""

from fedcode_jax.wire.decoding import DecodeError, decode
from fedcode_jax.wire.encoding import encode
from fedcode_jax.wire.kinds import Array, Kind, carries_values
from fedcode_jax.wire.message import (
    Message,
    addressed,
    is_conditional,
    is_entropy_coded,
    reference,
    remember,
    sent,
)
from fedcode_jax.wire.received import only_carried, values
from fedcode_jax.wire.rotation import kept, rotate
from fedcode_jax.wire.sections import (
    CODINGS,
    FLOAT_TYPES,
    Bits,
    Coded,
    Dense,
    Levels,
    LowRank,
    Rotated,
    Section,
    Sparse,
    rounded_factor,
    rounded_scales,
)
from fedcode_jax.wire.sizes import code_width, formula_bits, size_bits

__all__ = [
    "CODINGS",
    "FLOAT_TYPES",
    "Array",
    "Bits",
    "Coded",
    "DecodeError",
    "Dense",
    "Kind",
    "Levels",
    "LowRank",
    "Message",
    "Rotated",
    "Section",
    "Sparse",
    "addressed",
    "carries_values",
    "code_width",
    "decode",
    "encode",
    "formula_bits",
    "is_conditional",
    "is_entropy_coded",
    "kept",
    "only_carried",
    "reference",
    "remember",
    "rotate",
    "rounded_factor",
    "rounded_scales",
    "sent",
    "size_bits",
    "values",
]
