"""What crosses the wire: a kind and the sections of one model."""

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray

CODINGS = ("fixed", "entropy", "adaptive", "conditional")
"""How codes are written: ceil(log2 K) bits each; by a range coder with a table of frequencies,
with frequencies learnt on the way (per layer), or with those given what the receiver holds."""

FLOAT_TYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(jnp.bfloat16),
}
"""The formats of floats on the wire."""


class Kind(enum.IntEnum):
    """What a message carries, and so which of its arrays are sent.

    NOTHING: no bytes at all. CODEBOOK: the centers of every coded section. WEIGHTS: the
    centers and codes of every coded section, and every dense section. Dense sections that are
    always sent are in both.
    """

    NOTHING = 0
    CODEBOOK = 1
    WEIGHTS = 2
    UPDATE = 3


def _static(default: Any) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Coded:
    """A group of values as a codebook and codes: value i is ``centers[codes[i]]``.

    Attributes:
      centers: f32[K], ascending; or f32[K, B], codewords of B consecutive values each. A
        codebook that needs fewer centers repeats its last one.
      codes: u8[m] for K <= 256, else u16[m]; m = n, or ceil(n / B).
      coding: one of ``CODINGS``.
      layers: the number of codes of each layer, in order, for codings that learn layer by
        layer; empty for one layer.
    """

    centers: Array
    codes: Array
    coding: str = _static("fixed")
    layers: tuple[int, ...] = _static(())

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.centers.shape[-1 if self.centers.ndim == self.codes.ndim else -2]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """A group of values as floats.

    Attributes:
      values: f32[n]; these are values that ``dtype`` represents, so that what the receiver
        reads is what the sender meant (see ``rounded``).
      dtype: one of ``FLOAT_TYPES``, the format on the wire.
      always: sent in codebook messages too.
    """

    values: Array
    dtype: str = _static("float32")
    always: bool = _static(False)

    @classmethod
    def rounded(cls, values: jax.Array, dtype: str) -> "Dense":
        """A section of the values nearest to ``values`` that ``dtype`` holds, kept finite."""
        if dtype != "float32":
            limit = float(jnp.finfo(FLOAT_TYPES[dtype]).max)
            values = jnp.clip(values, -limit, limit).astype(FLOAT_TYPES[dtype]).astype(jnp.float32)
        return cls(values, dtype)


Section = Coded | Dense


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Message:
    """One message: traced arrays, of which ``kind`` says what is sent.

    The arrays of all sections are there whatever the kind, so that the kind can be a traced
    value and rounds of different kinds share one program. A receiver may use only what
    ``sent`` keeps.

    Attributes:
      kind: i32[], one of ``Kind``.
      sections: the groups of the model, in the order of its layout.
    """

    kind: Array
    sections: tuple[Section, ...]


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
    sections: list[Section] = []
    for index, section in enumerate(message.sections):
        if isinstance(section, Coded) and kind != Kind.NOTHING:
            codes = np.asarray(section.codes)
            if kind == Kind.CODEBOOK:
                section = dataclasses.replace(section, codes=codes[:0], layers=())
            elif section.coding == "conditional" and held(given, index, codes.shape) is None:
                section = dataclasses.replace(section, coding="adaptive")
            if section.coding != "adaptive" or len(section.layers) == 1:
                section = dataclasses.replace(section, layers=())
            sections.append(jax.tree.map(np.asarray, section))
        elif isinstance(section, Dense) and carries(section, kind):
            sections.append(Dense(np.asarray(section.values), section.dtype, section.always))
    return Message(np.asarray(kind, np.int32), tuple(sections))


def carries(section: Dense, kind: Kind) -> bool:
    """Whether a message of this kind carries these floats."""
    return kind == Kind.WEIGHTS or (kind == Kind.CODEBOOK and section.always)


def held(given: Message | None, index: int, shape: tuple[int, ...]) -> Coded | None:
    """What ``given`` holds for the codes of section ``index``, or None.

    Args:
      given: a message with a concrete kind, or None.
      index: place of the section.
      shape: of its codes.

    Returns:
      The section there, if ``given`` is a weights message and has codes of that shape there.
    """
    if given is None or int(given.kind) != Kind.WEIGHTS or index >= len(given.sections):
        return None
    section = given.sections[index]
    return section if isinstance(section, Coded) and section.codes.shape == shape else None


def reference(message: Message) -> Message:
    """What sender and receiver both keep of a message, to code the next one given it.

    Args:
      message: any message.

    Returns:
      The message without its floats: those of dense sections tell nothing about codes.
    """

    def kept(section: Section) -> Section:
        if isinstance(section, Dense):
            return Dense(section.values[..., :0], section.dtype)
        return Coded(section.centers, section.codes)

    return Message(message.kind, tuple(kept(section) for section in message.sections))


def is_conditional(message: Message) -> bool:
    """Whether any section is coded given what the receiver holds."""
    sections = message.sections
    return any(isinstance(s, Coded) and s.coding == "conditional" for s in sections)


def remember(known: Message, message: Message) -> Message:
    """The reference after a message: its content if it carries weights, else the old one.

    Args:
      known: as ``reference`` gives it; of kind NOTHING where there is none yet.
      message: the message that was exchanged, its kind traced or not.

    Returns:
      The new reference.
    """
    new = reference(message)
    has_weights = message.kind == Kind.WEIGHTS
    return jax.tree.map(lambda a, b: jnp.where(has_weights, b, a), known, new)


def carries_values(kind: Array) -> jax.Array:
    """Whether a message of this kind carries values."""
    return jnp.asarray(kind) >= Kind.WEIGHTS


def only_carried(message: Message, arrived: Any = True) -> Message:
    """Zeroes what does not reach the receiver."""
    kind = jnp.where(arrived, message.kind, jnp.int32(Kind.NOTHING))
    values, codebook = kind >= Kind.WEIGHTS, kind >= Kind.CODEBOOK

    def only(chosen: Any, array: Any) -> Any:
        return jnp.where(chosen, array, jnp.zeros_like(array))

    sections: list[Any] = []
    for section in message.sections:
        if isinstance(section, Coded):
            centers, codes = only(codebook, section.centers), only(values, section.codes)
            sections.append(dataclasses.replace(section, centers=centers, codes=codes))
        else:
            chosen = codebook if section.always else values
            sections.append(dataclasses.replace(section, values=only(chosen, section.values)))
    return Message(kind, tuple(sections))
