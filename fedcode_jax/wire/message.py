"""What crosses the wire: a kind and the sections of one model."""

import dataclasses
import enum

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.errors import ConfigError

Array = jax.Array | np.ndarray


class Kind(enum.IntEnum):
    """What a message carries, and so which of its arrays are sent.

    NOTHING: no bytes at all. CODEBOOK: the centers of every coded section. WEIGHTS: the
    centers and codes of every coded section, and every dense section.
    """

    NOTHING = 0
    CODEBOOK = 1
    WEIGHTS = 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Coded:
    """A group of values as a codebook and codes: value i is ``centers[codes[i]]``.

    Attributes:
      centers: f32[K], ascending.
      codes: u8[n] for K <= 256, else u16[n].
    """

    centers: Array
    codes: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dense:
    """A group of values as floats.

    Attributes:
      values: f32[n]; with ``dtype`` float16 these are values that float16 represents, so
        that what the receiver reads is what the sender meant (see ``rounded``).
      dtype: float32 or float16, the format on the wire.
    """

    values: Array
    dtype: str = dataclasses.field(default="float32", metadata={"static": True})

    @classmethod
    def rounded(cls, values: jax.Array, dtype: str) -> "Dense":
        """A section of the values nearest to ``values`` that ``dtype`` holds, kept finite."""
        if dtype == "float16":
            limit = float(np.finfo(np.float16).max)
            values = jnp.clip(values, -limit, limit).astype(jnp.float16).astype(jnp.float32)
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


def code_width(num_clusters: int) -> int:
    """Bits of one fixed-width code, ceil(log2 K).

    Example:
      >>> [code_width(k) for k in (1, 2, 3, 64, 65, 65536)]
      [0, 1, 2, 6, 7, 16]
    """
    return (num_clusters - 1).bit_length()


MESSAGE_HEADER_BYTES = 9


def header_bytes(section: Section, kind: Kind) -> int:
    """Bytes of a section's header in a message of this kind; 0 where it is not sent."""
    if isinstance(section, Coded):
        return {Kind.NOTHING: 0, Kind.CODEBOOK: 3, Kind.WEIGHTS: 7}[kind]
    return 5 if kind == Kind.WEIGHTS else 0


def body_bytes(section: Section, kind: Kind) -> int:
    """Bytes of a section's payload in a message of this kind."""
    if isinstance(section, Coded):
        num_clusters, n = section.centers.shape[-1], section.codes.shape[-1]
        codes = (n * code_width(num_clusters) + 7) // 8
        return {
            Kind.NOTHING: 0,
            Kind.CODEBOOK: 4 * num_clusters,
            Kind.WEIGHTS: 4 * num_clusters + codes,
        }[kind]
    return (
        section.values.shape[-1] * np.dtype(section.dtype).itemsize if kind == Kind.WEIGHTS else 0
    )


def size_bits(message: Message) -> jax.Array:
    """Length of the encoded message, in bits: ``8 * len(encode(message))``.

    Traceable and vmappable: the sizes depend on shapes, and the kind selects among them.

    Args:
      message: a message whose kind may be traced.

    Returns:
      u32[], bits, headers and checksum included; 0 where nothing is sent.

    Raises:
      ConfigError: a message of 2^32 bits (512 MiB) or more, which the count cannot hold.

    Example:
      >>> import jax.numpy as jnp
      >>> section = Coded(jnp.arange(4.0), jnp.zeros(100, jnp.uint8))
      >>> [int(size_bits(Message(jnp.int32(kind), (section,)))) // 8 for kind in Kind]
      [0, 28, 57]
    """

    def total(kind: Kind) -> int:
        if kind == Kind.NOTHING:
            return 0
        parts = sum(header_bytes(s, kind) + body_bytes(s, kind) for s in message.sections)
        return 8 * (MESSAGE_HEADER_BYTES + parts)

    return _select(message.kind, [total(kind) for kind in Kind])


def formula_bits(message: Message) -> jax.Array:
    """The published count of the same message, in bits, no headers.

    A codebook counts 32 K, a coded value ceil(log2 K), a float 32 (FedCode, arXiv
    2311.09270, and the authors' accounting of weight clustering).

    Args:
      message: a message whose kind may be traced.

    Returns:
      u32[], bits.

    Raises:
      ConfigError: a count of 2^32 bits or more.

    Example:
      >>> import jax.numpy as jnp
      >>> section = Coded(jnp.arange(4.0), jnp.zeros(100, jnp.uint8))
      >>> [int(formula_bits(Message(jnp.int32(kind), (section,)))) for kind in Kind]
      [0, 128, 328]
    """
    codebooks = weights = 0
    for section in message.sections:
        if isinstance(section, Coded):
            num_clusters = section.centers.shape[-1]
            codebooks += 32 * num_clusters
            weights += 32 * num_clusters + section.codes.shape[-1] * code_width(num_clusters)
        else:
            weights += 32 * section.values.shape[-1]
    return _select(message.kind, [0, codebooks, weights])


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


def sent(message: Message) -> Message:
    """What of a message reaches the receiver, as NumPy arrays.

    ``decode(encode(m))`` equals ``sent(m)``.

    Args:
      message: a message with a concrete kind.

    Returns:
      The message with only the arrays that are sent: of a codebook message the coded
      sections, with no codes; of an empty one no section.
    """
    kind = Kind(int(message.kind))
    sections: list[Section] = []
    for section in message.sections:
        if isinstance(section, Coded):
            centers, codes = np.asarray(section.centers), np.asarray(section.codes)
            if kind == Kind.CODEBOOK:
                sections.append(Coded(centers, codes[:0]))
            elif kind == Kind.WEIGHTS:
                sections.append(Coded(centers, codes))
        elif kind == Kind.WEIGHTS:
            sections.append(Dense(np.asarray(section.values), section.dtype))
    return Message(np.asarray(kind, np.int32), tuple(sections))


def _select(kind: Array, sizes: list[int]) -> jax.Array:
    if max(sizes) >= 2**32:
        raise ConfigError(
            f"a message of {max(sizes)} bits exceeds the 2^32 that sizes are counted in; "
            "use a smaller model or fewer bits a value (algorithm.num_clusters)"
        )
    return jnp.asarray(np.array(sizes, np.uint32))[kind]
