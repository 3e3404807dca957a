"""What crosses the wire: a kind and the sections of one model."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire.kinds import Array, Kind
from fedcode_jax.wire.sections import Coded
from fedcode_jax.wire.table import handling_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Message:
    """One message: traced arrays, of which ``kind`` says what is sent.

    The arrays of all sections are there whatever the kind, so that the kind can be a traced
    value and rounds of different kinds share one program. A receiver may use only what
    ``sent`` keeps.

    Attributes:
      kind: i32[], one of ``Kind``.
      sections: the groups of the model, in the order of its layout, each a ``Section``; of which
        type, its sender and receiver know.
    """

    kind: Array
    sections: tuple[Any, ...]


def addressed(message: Message, first_contact: jax.Array) -> Message:
    """The message as sent to one client: one that has no weights yet is sent weights.

    Args:
      message: the server's broadcast of this round.
      first_contact: bool[], whether the client takes part for the first time.

    Returns:
      The message, its kind WEIGHTS where ``first_contact``.
    """
    kind = jnp.where(first_contact, jnp.int32(Kind.WEIGHTS), message.kind)
    return dataclasses.replace(message, kind=kind)


def sent(message: Message, *, given: Message | None = None) -> Message:
    """What of a message reaches the receiver, as NumPy arrays.

    ``decode(encode(m))`` equals ``sent(m)``.

    Args:
      message: a message with a concrete kind.
      given: what the receiver holds already, as of ``encode``.

    Returns:
      The message with only the arrays that are sent: of a codebook message the coded
      sections, with no codes, and what is always sent; of an empty one no section. A section
      whose coding is conditional is adaptive where nothing that fits is given.
    """
    kind = Kind(int(message.kind))
    sections = []
    for index, section in enumerate(message.sections):
        kept = None
        if kind != Kind.NOTHING:
            kept = handling_of(section).sent(section, kind, held(given, index))
        if kept is not None:
            sections.append(kept)
    return Message(np.asarray(kind, np.int32), tuple(sections))


def held(given: Message | None, index: int) -> Coded | None:
    """The coded section that ``given`` holds at a place, if it is a weights message."""
    if given is None or int(given.kind) != Kind.WEIGHTS or index >= len(given.sections):
        return None
    section = given.sections[index]
    return section if isinstance(section, Coded) else None


def reference(message: Message) -> Message:
    """What sender and receiver both keep of a message, to code the next one given it.

    Args:
      message: any message.

    Returns:
      The message with its coded sections alone; the others, which tell nothing about codes, keep
      arrays of no size.
    """
    return Message(message.kind, tuple(handling_of(s).reference(s) for s in message.sections))


def is_conditional(message: Message) -> bool:
    """Whether any section is coded given what the receiver holds."""
    return any(handling_of(s).is_conditional(s) for s in message.sections)


def is_entropy_coded(message: Message) -> bool:
    """Whether any section is entropy-coded, so that its counted size is nearly that of its bytes.

    Example:
      >>> from fedcode_jax.wire.sections import Levels
      >>> levels = Levels(jnp.zeros(9, jnp.int8), jnp.ones(1), 1, coding="adaptive")
      >>> is_entropy_coded(Message(jnp.int32(Kind.WEIGHTS), (levels,)))
      True
    """
    return any(handling_of(s).is_entropy_coded(s) for s in message.sections)


def remember(known: Message, message: Message) -> Message:
    """The reference after a message: its content if it is of kind WEIGHTS, else the old one.

    Args:
      known: as ``reference`` gives it; of kind NOTHING where there is none yet.
      message: the message that was exchanged, its kind traced or not.

    Returns:
      The new reference.
    """
    new = reference(message)
    has_weights = message.kind == Kind.WEIGHTS
    return jax.tree.map(lambda a, b: jnp.where(has_weights, b, a), known, new)
