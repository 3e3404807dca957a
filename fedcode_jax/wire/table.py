"""The types of sections, each with what it has to say for itself."""

from typing import Any

from fedcode_jax.wire import sections
from fedcode_jax.wire.bits import BitsHandling
from fedcode_jax.wire.coded import CodedHandling
from fedcode_jax.wire.dense import DenseHandling
from fedcode_jax.wire.handling import Handling, Header
from fedcode_jax.wire.kinds import Kind, carries_values
from fedcode_jax.wire.levels import LevelsHandling
from fedcode_jax.wire.low_rank import LowRankHandling
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.rotated import RotatedHandling
from fedcode_jax.wire.sections import Section
from fedcode_jax.wire.sparse import SparseHandling

_PLAIN: dict[type, Handling[Any]] = {
    sections.Coded: CodedHandling(),
    sections.Dense: DenseHandling(),
    sections.Bits: BitsHandling(),
}
_TABLE: dict[type, Handling[Any]] = {
    **_PLAIN,
    sections.Levels: LevelsHandling(),
    sections.LowRank: LowRankHandling(),
    sections.Sparse: SparseHandling(_PLAIN),
    sections.Rotated: RotatedHandling(
        {kind: _PLAIN[kind] for kind in (sections.Coded, sections.Bits)}
    ),
}
_BY_BYTE = {byte: handling for handling in _TABLE.values() for byte in handling.types}


def handling_of(section: Section) -> Handling[Any]:
    """What there is for sections of this type.

    Raises:
      TypeError: it is no section.
    """
    handling = _TABLE.get(type(section))
    if handling is None:
        raise TypeError(
            f"{type(section).__name__} is no section of a message; wrap values in wire.Dense or "
            "wire.Coded, or another of the wire's"
        )
    return handling


def read_header(reader: Reader, kind: Kind) -> Header:
    """Reads the header of any section.

    Raises:
      DecodeError: there is no such type, or this kind of message does not carry it.
    """
    (section_type,) = reader.unpack("<B")
    handling = _BY_BYTE.get(section_type)
    if handling is None or not (carries_values(kind) or handling.in_codebook(section_type)):
        raise DecodeError(f"a section of type {section_type} in a {kind.name.lower()} message")
    return handling.read_header(section_type, reader, kind)
