"""The codes of one section as bytes, in each of the codings."""

import dataclasses
import zlib

import numpy as np

from fedcode_jax.wire import ans, probabilities
from fedcode_jax.wire.format import VALUES_PER_BYTE
from fedcode_jax.wire.reading import DecodeError, Reader
from fedcode_jax.wire.sections import Array, Coded, code_width


def pack(codes: np.ndarray, num_clusters: int) -> bytes:
    """Codes in ceil(log2 K) bits each, least significant bit first, zero-padded to a byte."""
    shifts = np.arange(code_width(num_clusters), dtype=codes.dtype)
    bits = ((codes[:, None] >> shifts) & 1).astype(np.uint8)
    return np.packbits(bits.ravel(), bitorder="little").tobytes()


def unpack(packed: bytes, size: int, num_clusters: int) -> np.ndarray:
    """The inverse of ``pack``: u16[size], u32[size] of more than 16 bits each.

    Raises:
      DecodeError: the padding is not zero.
    """
    width = code_width(num_clusters)
    if width == 0:
        return np.broadcast_to(np.uint16(0), (size,))
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    if bits[size * width :].any():
        raise DecodeError("the padding after the codes is not zero")
    dtype: type[np.unsignedinteger] = np.uint16 if width <= 16 else np.uint32
    shifts = np.arange(width, dtype=dtype)
    rows = bits[: size * width].reshape(size, width).astype(dtype)
    return (rows << shifts).sum(axis=1, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Known:
    """What the receiver holds of a section, as a conditional coding needs it.

    Attributes:
      contexts: i64[m], of each code to come.
      offsets: i64[X], the code that each context expects.
      checksum: CRC-32 of the known centers and codes.
    """

    contexts: np.ndarray
    offsets: np.ndarray
    checksum: int

    @classmethod
    def of(cls, known: Coded, centers: np.ndarray) -> "Known":
        """Reads the known section, in view of the centers f32[K] or f32[K, B] to come."""
        old = np.asarray(known.centers, "<f4")
        codes = np.asarray(known.codes)
        width, count = probabilities.contexts_of(len(old))
        middle = np.minimum(np.arange(count) * width + width // 2, len(old) - 1)
        checksum = zlib.crc32(np.asarray(codes, "<u2").tobytes(), zlib.crc32(old.tobytes()))
        contexts = codes.astype(np.int64) // width
        return cls(contexts, nearest(centers, old[middle]), checksum)


def nearest(centers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The center nearest to each value, the first of equals, as ``codebook.encode`` has it.

    Args:
      centers: f32[K] or f32[K, B].
      values: f32[m] or f32[m, B].

    Returns:
      i64[m].

    Raises:
      ValueError: ``values`` are not of the centers' kind.
    """
    if centers.shape[1:] != values.shape[1:]:
        raise ValueError(f"codewords {centers.shape[1:]} of blocks {values.shape[1:]}")
    with np.errstate(invalid="ignore"):  # what is not a number is near to any center
        centers, values = centers.astype(np.float64), values.astype(np.float64)
        if centers.ndim == 1:
            different, first = np.unique(centers, return_index=True)
            middles = (different[:-1] + different[1:]) / 2
            return first[np.searchsorted(middles, values)]
        distance = np.zeros((len(values), len(centers)))
        for b in range(centers.shape[1]):  # in this order, so that every machine rounds alike
            distance += np.subtract.outer(values[:, b], centers[:, b]) ** 2
        return distance.argmin(axis=1)


def write_codes(
    codes: Array, coding: str, used: int, layers: tuple[int, ...], known: Known | None
) -> tuple[bytes, bytes]:
    """The table, which static coding alone has, and the payload of entropy-coded codes.

    Args:
      codes: u8[n] or u16[n].
      coding: how they are written.
      used: above every code; so many symbols there are.
      layers: codes of each layer, for adaptive coding; empty for one.
      known: what the receiver holds, for conditional coding.
    """
    codes = np.asarray(codes)
    if not codes.size:
        return b"", b""
    if coding == "entropy":
        levels = probabilities.static_levels(codes, used)
        return levels.tobytes(), ans.encode_static(codes, levels)
    model, blocks = _adaptive(used, layers or (codes.size,), known)
    return b"", ans.encode_adaptive(codes, model, blocks)


def read_codes(
    payload: bytes,
    size: int,
    used: int,
    *,
    levels: np.ndarray | None,
    layers: tuple[int, ...],
    known: Known | None,
) -> np.ndarray:
    """The inverse of ``write_codes``: u16[size], each below ``used``.

    Raises:
      DecodeError: the payload is not the one that a writer makes of these codes.
    """
    if not size:
        if payload:
            raise DecodeError(f"no codes in a payload of {len(payload)} bytes")
        return np.zeros(0, np.uint16)
    try:
        if levels is not None:
            return ans.decode_static(payload, size, levels)
        model, blocks = _adaptive(used, layers or (size,), known)
        return ans.decode_adaptive(payload, model, blocks)
    except ValueError as error:
        raise DecodeError(f"the codes cannot be read: {error}") from error


def check_payload(size: int, payload: int) -> None:
    """Refuses lengths of a payload that cannot be."""
    if size > payload * VALUES_PER_BYTE or payload % 4:
        raise DecodeError(f"{size} codes in a payload of {payload} bytes")


def read_layers(reader: Reader, size: int) -> tuple[int, ...]:
    """The number of codes of each layer, of ``size`` together; empty for one layer."""
    (count,) = reader.unpack("<H")
    layers = reader.unpack(f"<{count}I")
    if count and (count == 1 or sum(layers) != size):
        raise DecodeError(f"{count} layers of {sum(layers)} codes; {size} are there")
    return layers


def read_table(reader: Reader, used: int) -> np.ndarray:
    """A table of levels, u8[used]."""
    levels = np.frombuffer(reader.take(used), np.uint8)
    if levels.max() != probabilities.LEVELS:
        raise DecodeError("a table of frequencies that no writer makes")
    return levels


def _adaptive(
    num_symbols: int, layers: tuple[int, ...], known: Known | None
) -> tuple[probabilities.Adaptive, ans.Blocks]:
    if known is not None:
        model = probabilities.Adaptive(num_symbols, known.offsets, peaked=True)
        size = known.contexts.size
        return model, ans.Blocks(known.contexts, (size,), probabilities.CONDITIONAL_GROWTH)
    model = probabilities.Adaptive(num_symbols, np.zeros(1, np.int64), peaked=False)
    contexts = np.broadcast_to(np.int64(0), (sum(layers),))
    return model, ans.Blocks(contexts, layers, probabilities.ADAPTIVE_GROWTH)
