"""Sections of codes as bytes, and back."""

import struct
from typing import Any

import jax.numpy as jnp
import numpy as np

from fedcode_jax.wire import codings, probabilities
from fedcode_jax.wire.codings import Known
from fedcode_jax.wire.format import BLOCKS, CODED_TYPES, MOST_CODEBOOK_VALUES
from fedcode_jax.wire.handling import Header, exact_floats
from fedcode_jax.wire.kinds import Kind, carries_values
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import Coded, code_width

_NAMES = {code: coding for coding, code in CODED_TYPES.items()}


def header_bytes(coding: str, block: int, kind: Kind, layers: int) -> int:
    """Bytes of the header of a section with this coding, in this kind of message."""
    size = 3 if block == 1 else 4
    if coding != "fixed":
        size += 2
    if not carries_values(kind):
        return size
    extra = {"fixed": 4, "entropy": 8, "adaptive": 10, "conditional": 12}[coding]
    return size + extra + (4 * layers if coding == "adaptive" and layers > 1 else 0)


def used_centers(section: Coded) -> Any:
    """How many centers an entropy-coded section sends: all but the repeats at the end.

    Args:
      section: of NumPy arrays, or of JAX arrays, traced or not.

    Returns:
      i32[], at least 1 and above every code.
    """
    xp: Any = jnp
    if isinstance(section.centers, np.ndarray) and isinstance(section.codes, np.ndarray):
        xp = np
    centers = xp.asarray(section.centers, xp.float32).reshape(section.num_clusters, -1)
    bits = centers.view(xp.int32)  # 0 and -0 are two centers
    new = xp.any(bits[1:] != bits[:-1], axis=1)
    last = xp.max(xp.where(new, xp.arange(1, centers.shape[0]), 0), initial=0)
    return 1 + xp.maximum(last, xp.max(section.codes, initial=0).astype(xp.int32))


def write(section: Coded, kind: Kind, known: Coded | None) -> tuple[bytes, bytes]:
    """The header and the body of a section as it is sent.

    Args:
      section: as ``sent``.
      kind: of the message.
      known: what the receiver holds of it, where its coding is conditional.

    Raises:
      ValueError: see ``encode``.
    """
    centers = _checked(section)
    K, n, block, coding = len(centers), len(section.codes), section.block, section.coding
    header = struct.pack("<BH", CODED_TYPES[coding] | (BLOCKS if block > 1 else 0), K - 1)
    if block > 1:
        header += struct.pack("<B", block - 1)
    if coding == "fixed":
        if not carries_values(kind):
            return header, centers.tobytes()
        packed = codings.pack(np.asarray(section.codes), K)
        return header + struct.pack("<I", n), centers.tobytes() + packed
    used = int(used_centers(section))
    header, body = header + struct.pack("<H", used - 1), centers[:used].tobytes()
    if not carries_values(kind):
        return header, body
    view = None
    if coding == "conditional":
        assert known is not None  # else ``sent`` made it adaptive
        view = Known.of(known, centers[:used])
    layers = section.layers
    if len(layers) > 65535 or (layers and sum(layers) != n) or min(layers, default=0) < 0:
        raise ValueError(f"{len(layers)} layers of {sum(layers)} codes, not {n}")
    table, payload = codings.write_codes(section.codes, coding, used, layers, view)
    header += struct.pack("<II", n, len(payload))
    if coding == "adaptive":
        header += struct.pack(f"<H{len(layers)}I", len(layers), *layers)
    if view is not None:
        header += struct.pack("<I", view.checksum)
    return header, body + table + payload


def _checked(section: Coded) -> np.ndarray:
    """The centers of a section in which everything is as it must be."""
    centers, codes = exact_floats(section.centers, "centers"), np.asarray(section.codes)
    if codes.ndim != 1 or centers.ndim not in (1, 2) or section.coding not in CODED_TYPES:
        raise ValueError(f"centers {centers.shape}, codes {codes.shape} coded {section.coding}")
    K, block = len(centers), section.block
    blocks = centers.ndim == 1 or 2 <= block <= 256
    if not (1 <= K <= 65536 and blocks and K * block <= MOST_CODEBOOK_VALUES):
        raise ValueError(
            f"{K} centers of {block} values: a message holds 1 to 65,536 centers, blocks of 2 to "
            f"256, and {MOST_CODEBOOK_VALUES} values in one codebook"
        )
    if codes.dtype != (np.uint8 if K <= 256 else np.uint16):
        raise ValueError(f"codes of {codes.dtype} with {K} centers: u8 up to 256 of them, else u16")
    if codes.size and int(codes.max()) >= K:
        raise ValueError(f"code {int(codes.max())} with {K} centers")
    complaint = _complaint(centers)
    if complaint:
        raise ValueError(complaint)
    return centers


def _complaint(centers: np.ndarray) -> str:
    if not np.isfinite(centers).all():
        return "a center that is not finite"
    if centers.ndim == 1 and not np.all(centers[1:] >= centers[:-1]):
        return "the centers of a codebook are not ascending"
    return ""


def read_header(section_type: int, reader: Reader, kind: Kind) -> Header:
    """Reads the header behind the type byte.

    Args:
      section_type: that byte.
      reader: behind it.
      kind: of the message.

    Raises:
      DecodeError: the header is none that a writer makes.
    """
    coding = _NAMES[section_type & ~BLOCKS]
    K = reader.unpack("<H")[0] + 1
    block = reader.unpack("<B")[0] + 1 if section_type & BLOCKS else 1
    if (section_type & BLOCKS) and block == 1:
        raise DecodeError("a section of blocks whose codewords hold one value")
    used = K if coding == "fixed" else reader.unpack("<H")[0] + 1
    if used > K or K * block > MOST_CODEBOOK_VALUES:
        raise DecodeError(f"{used} centers used of {K} centers of {block} values")
    body, repeats = _Body(coding, K, block, used), (K - used) * block
    centers = 4 * used * block
    if not carries_values(kind):
        return Header(centers, body.read, 0, block, repeats)
    (size,) = reader.unpack("<I")
    if coding == "fixed":
        payload = (size * code_width(K) + 7) // 8
        body = _Body(coding, K, block, used, size, payload)
        return Header(centers + payload, body.read, size, block)
    (payload,) = reader.unpack("<I")
    codings.check_payload(size, payload)
    layers: tuple[int, ...] = ()
    reference, entries, table = None, 0, 0
    if coding == "entropy":
        entries = table = used if size else 0
    if coding == "adaptive":
        layers = codings.read_layers(reader, size)
        entries = used * len(
            probabilities.block_ends(layers or (size,), probabilities.ADAPTIVE_GROWTH)
        )
    if coding == "conditional":
        (reference,) = reader.unpack("<I")
        entries = used * probabilities.most_runs(size)
    body = _Body(coding, K, block, used, size, payload, layers, reference)
    conditional = coding == "conditional"
    total = centers + table + payload
    return Header(total, body.read, size, block, repeats, entries, conditional)


class _Body:
    """Reads what a header has announced."""

    def __init__(
        self,
        coding: str,
        num_clusters: int,
        block: int,
        used: int,
        size: int = 0,
        payload: int = 0,
        layers: tuple[int, ...] = (),
        reference: int | None = None,
    ) -> None:
        self._coding, self._num_clusters, self._block, self._used = (
            coding,
            num_clusters,
            block,
            used,
        )
        self._size, self._payload, self._layers = size, payload, layers
        self._reference = reference

    def read(self, reader: Reader, known: Coded | None) -> Coded:
        centers = self._centers(reader)
        codes = self._codes(reader, centers, known)
        # Codes that are all the same are a view of one, which stands for any number of them.
        distinct = codes[:1] if codes.strides == (0,) else codes
        if codes.size and int(distinct.max()) >= self._used:
            raise DecodeError(f"code {int(distinct.max())} with {self._used} centers")
        dtype = np.uint8 if self._num_clusters <= 256 else np.uint16
        distinct = distinct.astype(dtype, copy=False)
        codes = np.broadcast_to(distinct, codes.shape) if codes.strides == (0,) else distinct
        repeats = self._num_clusters - self._used
        centers = np.concatenate([centers, np.repeat(centers[-1:], repeats, axis=0)])
        return Coded(centers, codes, self._coding, self._layers)

    def _centers(self, reader: Reader) -> np.ndarray:
        values = reader.take(4 * self._used * self._block)
        centers = np.frombuffer(values, "<f4").astype(np.float32)
        if self._block > 1:
            centers = centers.reshape(self._used, self._block)
        complaint = _complaint(centers)
        if complaint:
            raise DecodeError(complaint)
        return centers

    def _codes(self, reader: Reader, centers: np.ndarray, known: Coded | None) -> np.ndarray:
        if self._coding == "fixed":
            packed = reader.take(self._payload)
            return codings.unpack(packed, self._size, self._num_clusters)
        levels = None
        if self._coding == "entropy" and self._size:
            levels = codings.read_table(reader, self._used)
        view = None
        if self._reference is not None:
            if known is None or known.codes.shape != (self._size,):
                raise DecodeError("coded given an earlier message; pass it as given=")
            view = Known.of(known, centers)
            if view.checksum != self._reference:
                raise DecodeError("coded given another message than the one passed as given=")
        payload = reader.take(self._payload)
        return codings.read_codes(
            payload, self._size, self._used, levels=levels, layers=self._layers, known=view
        )
