"""Sections of codes: what of them is sent, and how long it is."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import codebook
from fedcode_jax.wire import code_lengths, coded_bytes
from fedcode_jax.wire.format import BLOCKS, CODED_TYPES
from fedcode_jax.wire.handling import Bytes, Handling, Header, only_if
from fedcode_jax.wire.kinds import Array, Kind, carries_values
from fedcode_jax.wire.reading import Reader
from fedcode_jax.wire.sections import Coded, code_width


class CodedHandling(Handling[Coded]):
    """A codebook in codebook messages, and the codes with it where values are carried."""

    types = frozenset(CODED_TYPES.values()) | {code | BLOCKS for code in CODED_TYPES.values()}

    def in_codebook(self, section_type: int) -> bool:
        """See ``Handling``."""
        return True

    def sent(self, section: Coded, kind: Kind, known: Coded | None) -> Coded | None:
        """See ``Handling``; conditional codes are adaptive where nothing that fits is known."""
        if kind == Kind.NOTHING:
            return None
        section = jax.tree.map(np.asarray, section)
        if not carries_values(kind):
            section = dataclasses.replace(section, codes=section.codes[:0], layers=())
        elif section.coding == "conditional" and fitting(known, section.codes.shape) is None:
            section = dataclasses.replace(section, coding="adaptive")
        if section.coding != "adaptive" or len(section.layers) == 1:
            section = dataclasses.replace(section, layers=())
        return section

    def carried(self, section: Coded, codebook: Array, values: Array) -> Coded:
        """See ``Handling``."""
        centers = only_if(codebook, section.centers)
        return dataclasses.replace(section, centers=centers, codes=only_if(values, section.codes))

    def reference(self, section: Coded) -> Coded:
        """See ``Handling``."""
        return Coded(section.centers, section.codes)

    def is_entropy_coded(self, section: Coded) -> bool:
        """See ``Handling``."""
        return section.coding != "fixed"

    def is_conditional(self, section: Coded) -> bool:
        """See ``Handling``."""
        return section.coding == "conditional"

    def values(self, section: Coded, size: int | None) -> jax.Array:
        """See ``Handling``."""
        return codebook.decode(jnp.asarray(section.centers), jnp.asarray(section.codes), size)

    def header_bytes(self, section: Coded, kind: Kind, layers: int) -> int:
        """See ``Handling``."""
        return coded_bytes.header_bytes(section.coding, section.block, kind, layers)

    def size_bytes(
        self, section: Coded, known: Coded | None, has_known: Any
    ) -> tuple[Bytes, Bytes]:
        """See ``Handling``."""
        used: Bytes = section.num_clusters
        if section.coding != "fixed":
            used = coded_bytes.used_centers(section)
        centers = jnp.uint32(4 * section.block) * jnp.asarray(used, jnp.uint32)
        header = self.header_bytes(section, Kind.CODEBOOK, 1)
        return header + centers, centers + _codes_and_header(section, used, known, has_known)

    def most_bits(self, section: Coded) -> int:
        """See ``Handling``."""
        codes = section.codes.shape[-1] * code_width(section.num_clusters)
        return 32 * section.num_clusters * section.block + codes + 8 * 20

    def formula_bits(self, section: Coded) -> tuple[int, int]:
        """See ``Handling``."""
        K = section.num_clusters
        codebook_bits = 32 * K * section.block
        return codebook_bits, codebook_bits + section.codes.shape[-1] * code_width(K)

    def write(self, section: Coded, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
        """See ``Handling``."""
        return coded_bytes.write(section, kind, fitting(known, section.codes.shape))

    def read_header(self, section_type: int, reader: Reader, kind: Kind) -> Header:
        """See ``Handling``."""
        return coded_bytes.read_header(section_type, reader, kind)


def fitting(known: Coded | None, shape: tuple[int, ...]) -> Coded | None:
    """The known section, if it has codes of this shape."""
    return known if known is not None and known.codes.shape == shape else None


def _codes_and_header(section: Coded, used: Bytes, known: Coded | None, has_known: Any) -> Bytes:
    """What of a message that carries values is not centers: header, tables, and the codes."""
    n, K = section.codes.shape[-1], section.num_clusters
    codes, block = jnp.asarray(section.codes), section.block
    if section.coding == "fixed":
        header = coded_bytes.header_bytes("fixed", block, Kind.WEIGHTS, 1)
        return header + (n * code_width(K) + 7) // 8

    def size(coding: str, bits: Callable[[], jax.Array], layers: int = 1) -> Bytes:
        header = coded_bytes.header_bytes(coding, block, Kind.WEIGHTS, layers)
        return header + code_lengths.payload_bytes(bits(), n) if n else header

    if section.coding == "entropy":
        table = used if n else 0
        return table + size("entropy", lambda: code_lengths.static_bits(codes, K, used))
    layers = section.layers or (n,)
    adaptive = size(
        "adaptive", lambda: code_lengths.adaptive_bits(codes, K, used, layers), len(layers)
    )
    known = fitting(known, section.codes.shape)
    if section.coding == "adaptive" or known is None:
        return adaptive
    conditional = size("conditional", lambda: code_lengths.conditional_bits(section, used, known))
    return jnp.where(has_known, conditional, adaptive)
