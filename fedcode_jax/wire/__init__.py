"""Messages, their byte format and their measured sizes.

``encode`` and ``decode`` turn a message into real bytes and back; ``size_bits`` is the
length of those bytes, in bits, computed inside a jitted program. ``FORMAT.md`` beside this
file specifies the bytes.
"""

from fedcode_jax.wire.decoding import DecodeError, decode
from fedcode_jax.wire.encoding import encode
from fedcode_jax.wire.message import (
    CODINGS,
    FLOAT_TYPES,
    Array,
    Coded,
    Dense,
    Kind,
    Message,
    addressed,
    carries_values,
    is_conditional,
    only_carried,
    reference,
    remember,
    sent,
)
from fedcode_jax.wire.sizes import code_width, formula_bits, size_bits

__all__ = [
    "CODINGS",
    "FLOAT_TYPES",
    "Array",
    "Coded",
    "DecodeError",
    "Dense",
    "Kind",
    "Message",
    "addressed",
    "carries_values",
    "code_width",
    "decode",
    "encode",
    "formula_bits",
    "is_conditional",
    "only_carried",
    "reference",
    "remember",
    "sent",
    "size_bits",
]
