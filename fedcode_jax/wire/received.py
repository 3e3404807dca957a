"""What a message is worth to its receiver."""

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.wire.kinds import Array, Kind, carries_values
from fedcode_jax.wire.message import Message
from fedcode_jax.wire.sections import Section
from fedcode_jax.wire.table import handling_of


@randomness.standardised
def values(section: Section, size: int | None = None) -> jax.Array:
    """The values that a section stands for.

    Traceable and vmappable. Copies and exact products alone, so that they are the same to the bit
    in any program.

    Args:
      section: of any type, from a message that carries all of it.
      size: n, which blocks of codes do not tell; None for all values of the last block.

    Returns:
      f32[n].

    Example:
      >>> from fedcode_jax.wire.sections import Bits, Sparse
      >>> signs = Bits(jnp.array([1, 0], jnp.uint8), jnp.float32(0.5))
      >>> values(Sparse(jnp.array([0, 3]), signs, size=5)).tolist()
      [0.5, 0.0, 0.0, -0.5, 0.0]
    """
    return handling_of(section).values(section, size)


def only_carried(message: Message, arrived: Array | bool = True) -> Message:
    """The message, zero in all that does not reach the receiver, even where that is NaN.

    Traceable and vmappable; the structure and shapes stay as they are.

    Args:
      message: its kind may be traced.
      arrived: bool[], whether it arrived.

    Returns:
      The message; of kind NOTHING, and all zero, where it did not arrive.

    Example:
      >>> from fedcode_jax.wire.sections import Dense
      >>> lost = Message(jnp.int32(Kind.WEIGHTS), (Dense(jnp.array([jnp.nan])),))
      >>> only_carried(lost, False)
      Message(kind=Array(0, ...), sections=(Dense(values=Array([0.], ...), ...),))
    """
    kind = jnp.where(arrived, jnp.asarray(message.kind), jnp.int32(Kind.NOTHING))
    codebook, all_values = kind != Kind.NOTHING, carries_values(kind)
    sections = (handling_of(s).carried(s, codebook, all_values) for s in message.sections)
    return Message(kind, tuple(sections))
