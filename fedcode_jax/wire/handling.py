"""What each type of section has to say for itself, in one class of its own."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire.kinds import Array, Kind, carries_values
from fedcode_jax.wire.reading import Reader
from fedcode_jax.wire.sections import Coded, Section

S = TypeVar("S", bound=Section)

Bytes = int | jax.Array


@dataclasses.dataclass(frozen=True)
class Header:
    """What a section's header says.

    Attributes:
      body_bytes: length of the section's body.
      read: reads the body, given what the receiver holds of the section or None.
      codes: number of its codes, floats or bits.
      block: values that each of them stands for.
      repeats: center values that the reader makes without having been sent them.
      entries: probabilities that the reader computes.
      conditional: whether it is coded given what the receiver holds.
    """

    body_bytes: int
    read: Callable[[Reader, Coded | None], Any]
    codes: int = 0
    block: int = 1
    repeats: int = 0
    entries: int = 0
    conditional: bool = False


class Handling(abc.ABC, Generic[S]):
    """All that the wire does with sections of one type.

    Attributes:
      types: the type bytes of such sections.
    """

    types: frozenset[int]

    def in_codebook(self, section_type: int) -> bool:
        """Whether codebook messages carry sections of this type byte."""
        return False

    # What of a section is sent

    def sent(self, section: S, kind: Kind, known: Coded | None) -> Section | None:
        """The section as NumPy arrays, as a message of this kind carries it; None if not at all."""
        return jax.tree.map(np.asarray, section) if carries_values(kind) else None

    def carried(self, section: S, codebook: Array, values: Array) -> S:
        """The section, zero in what does not reach the receiver.

        Args:
          section: of any type.
          codebook: bool[], whether what codebook messages carry reaches it.
          values: bool[], whether all of it does.
        """
        return jax.tree.map(lambda leaf: only_if(values, leaf), section)

    def reference(self, section: S) -> Section:
        """What both sides keep of the section, to code the next one given it."""
        return jax.tree.map(lambda leaf: leaf[..., None][..., :0], section)

    def is_entropy_coded(self, section: S) -> bool:
        """Whether its size depends on more than shapes and is known only nearly."""
        return False

    def is_conditional(self, section: S) -> bool:
        """Whether it is coded given what the receiver holds."""
        return False

    @abc.abstractmethod
    def values(self, section: S, size: int | None) -> jax.Array:
        """The values f32[n] that the section stands for."""

    # How long it is

    @abc.abstractmethod
    def header_bytes(self, section: S, kind: Kind, layers: int) -> int:
        """Bytes of its header."""

    @abc.abstractmethod
    def size_bytes(self, section: S, known: Coded | None, has_known: Any) -> tuple[Bytes, Bytes]:
        """Bytes in a codebook message and in one that carries values, header included."""

    @abc.abstractmethod
    def most_bits(self, section: S) -> int:
        """At least as many as the section has with its header, codes at fixed width."""

    @abc.abstractmethod
    def formula_bits(self, section: S) -> tuple[int, int]:
        """The published count in a codebook message and in one that carries values."""

    # Its bytes

    @abc.abstractmethod
    def write(self, section: Any, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """The header and the body of a section as it is ``sent``.

        Raises:
          ValueError: the section is not what its type allows, or more than its header can say.
        """

    @abc.abstractmethod
    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """Reads the header behind its type byte, and refuses (DecodeError) what none writes."""


def only_if(there: Array, leaf: Array) -> jax.Array:
    """The array where it is there, else zeros, whatever it holds."""
    return jnp.where(there, leaf, jnp.zeros_like(leaf))


def exact_floats(values: Array, what: str) -> np.ndarray:
    """An array as little-endian float32.

    Raises:
      ValueError: float32 does not hold its values.
    """
    values = np.asarray(values)
    with np.errstate(over="ignore", invalid="ignore"):
        floats = values.astype("<f4")
    if not np.array_equal(floats, values, equal_nan=True):
        raise ValueError(f"{what} of {values.dtype} that are not float32")
    return floats
