"""How many bits a message takes, computed inside a jitted program."""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import randomness
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire.kinds import Kind
from fedcode_jax.wire.message import Message
from fedcode_jax.wire.sections import Coded, Section, code_width
from fedcode_jax.wire.table import handling_of

__all__ = ["MESSAGE_HEADER_BYTES", "code_width", "formula_bits", "header_bytes", "size_bits"]

MESSAGE_HEADER_BYTES = 9


@randomness.standardised
def size_bits(message: Message, *, given: Message | None = None) -> jax.Array:
    """Length of the encoded message, in bits: ``8 * len(encode(message, given=given))``.

    Traceable and vmappable. For fixed-width codes, floats and positions the sizes are exact. For
    entropy-coded codes they are the code lengths of the coder's own models, with tables and
    headers: within a word or two of the bytes.

    Args:
      message: a message whose kind may be traced.
      given: what the receiver holds, for sections whose coding is conditional: a reference of
        the same structure whose kind, traced or not, says whether there is one.

    Returns:
      u32[], bits, headers and checksum included; 0 where nothing is sent.

    Raises:
      ConfigError: a message of 2^32 bits (512 MiB) or more at fixed width, which the count
        cannot hold.
      ValueError: conditional codes in a sparse section.

    Example:
      >>> section = Coded(jnp.arange(4.0), jnp.zeros(100, jnp.uint8))
      >>> [int(size_bits(Message(jnp.int32(kind), (section,)))) // 8 for kind in Kind]
      [0, 28, 57, 57]
    """
    most = sum(handling_of(section).most_bits(section) for section in message.sections)
    _check(8 * MESSAGE_HEADER_BYTES + most)
    codebook = values = jnp.uint32(MESSAGE_HEADER_BYTES)
    for index, section in enumerate(message.sections):
        reference = None if given is None else given.sections[index]
        known = reference if isinstance(reference, Coded) else None
        has_known = False if given is None else given.kind == Kind.WEIGHTS
        sizes = handling_of(section).size_bytes(section, known, has_known)
        codebook = codebook + jnp.asarray(sizes[0], jnp.uint32)
        values = values + jnp.asarray(sizes[1], jnp.uint32)
    bits = jnp.stack([jnp.uint32(0), 8 * codebook, 8 * values, 8 * values]).astype(jnp.uint32)
    return bits[message.kind]


def formula_bits(message: Message) -> jax.Array:
    """The published count of the same message, in bits, no headers.

    A codebook counts 32 K B, a code ceil(log2 K), a float, a factor, a scale, a magnitude or a
    seed 32, a bit 1, a level ceil(log2(2 limit + 1)), a position ceil(log2 n), whatever the coding
    (FedCode, arXiv 2311.09270, and the authors' accounting of weight clustering).

    Args:
      message: a message whose kind may be traced.

    Returns:
      u32[], bits.

    Raises:
      ConfigError: a count of 2^32 bits or more.

    Example:
      >>> section = Coded(jnp.arange(4.0), jnp.zeros(100, jnp.uint8))
      >>> [int(formula_bits(Message(jnp.int32(kind), (section,)))) for kind in Kind]
      [0, 128, 328, 328]
    """
    counts = [handling_of(section).formula_bits(section) for section in message.sections]
    codebook, values = (sum(count[i] for count in counts) for i in range(2))
    _check(values)
    return jnp.asarray(np.array([0, codebook, values, values], np.uint32))[message.kind]


def header_bytes(section: Section, kind: Kind, layers: int = 1) -> int:
    """Bytes of a section's header.

    Args:
      section: the section as it is sent (see ``sent``), in a kind of message that sends it.
      kind: of the message.
      layers: how many layers an adaptive section of codes names.
    """
    return handling_of(section).header_bytes(section, kind, layers)


def _check(bits: int) -> None:
    if bits >= 2**32:
        raise ConfigError(
            f"a message of {bits} bits exceeds the 2^32 that sizes are counted in; "
            "use a smaller model or fewer bits a value (algorithm.num_clusters)"
        )
