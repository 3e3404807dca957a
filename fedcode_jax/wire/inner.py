"""What sections that hold another section have in common."""

from collections.abc import Mapping
from typing import Any, TypeVar

from fedcode_jax.wire.handling import Handling, Header
from fedcode_jax.wire.kinds import Kind
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import Rotated, Sparse

S = TypeVar("S", Sparse, Rotated)


class OuterHandling(Handling[S]):
    """A section whose ``values`` are a section.

    Attributes:
      called: what such a section is called in errors.
    """

    called: str

    def __init__(self, inner: Mapping[type, Handling[Any]]) -> None:
        self._inner = inner
        self._by_byte = {byte: one for one in inner.values() for byte in one.types}

    def is_entropy_coded(self, section: S) -> bool:
        """See ``Handling``."""
        return self.inner(section).is_entropy_coded(section.values)

    def inner(self, section: S) -> Handling[Any]:
        """What there is for the section inside."""
        handling = self._inner.get(type(section.values))
        if handling is None:
            raise ValueError(
                f"{self.called} with values of type {type(section.values).__name__}; it takes a "
                "section, such as wire.Dense or wire.Coded"
            )
        return handling

    def sent_values(self, section: S, kind: Kind) -> Any:
        """The section inside as it is sent; conditional codes as they are: ``write`` refuses."""
        if self.inner(section).is_conditional(section.values):
            return section.values
        return self.inner(section).sent(section.values, kind, None)

    def check_coding(self, section: S) -> None:
        """Refuses (ValueError) codes that need what the receiver holds, which is known by place."""
        if self.inner(section).is_conditional(section.values):
            raise ValueError(f"conditional codes in {self.called}: use another coding")

    def read_inner(self, reader: Reader, kind: Kind) -> Header:
        """Reads the header of the section inside."""
        (section_type,) = reader.unpack("<B")
        handling = self._by_byte.get(section_type)
        if handling is None:
            raise DecodeError(f"a section of type {section_type} in {self.called}")
        header = handling.read_header(section_type, reader, kind)
        if header.conditional:
            raise DecodeError(f"conditional codes in {self.called}")
        return header
