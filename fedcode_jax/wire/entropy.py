"""Codes to bytes and back with a range coder, under the models of ``models``."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fedcode_jax.wire import models

VALUES_PER_BYTE = 2**12
"""A payload holds at most so many codes a byte, and is filled with zeros to that length: what
a forged count can make a reader allocate is bounded by the bytes that were sent."""

Places = np.ndarray | slice

_PIECE = 2**20  # codes that the coder gives at once, as 32-bit numbers


def encode_static(codes: np.ndarray, levels: np.ndarray) -> bytes:
    """Codes by a table of levels, which holds a level above 0 for each of them."""
    encoder = _coder().RangeEncoder()
    if codes.size and np.count_nonzero(levels) > 1:
        encoder.encode(codes.astype(np.int32), _categorical(_frequencies(levels)))
    return _payload(encoder, codes.size)


def decode_static(payload: bytes, size: int, levels: np.ndarray) -> np.ndarray:
    """The inverse of ``encode_static``: u16[size]."""
    used = np.flatnonzero(levels)
    if used.size == 1:
        return np.broadcast_to(np.uint16(used[0]), (size,))
    decoder, model = _decoder(payload), _categorical(_frequencies(levels))
    codes = np.empty(size, np.uint16)
    for start in range(0, size, _PIECE):
        codes[start : start + _PIECE] = decoder.decode(model, min(_PIECE, size - start))
    return codes


def encode_adaptive(codes: np.ndarray, model: models.Adaptive, plan: "Blocks") -> bytes:
    """Codes by a model that learns from them block by block."""
    encoder = _coder().RangeEncoder()
    for start, stop, runs in plan.runs(model):
        block = codes[start:stop].astype(np.int32)
        for context, places in runs:
            encoder.encode(block[places], _categorical(model.weights(context)))
        model.update(plan.contexts[start:stop], block)
    return _payload(encoder, codes.size)


def decode_adaptive(payload: bytes, model: models.Adaptive, plan: "Blocks") -> np.ndarray:
    """The inverse of ``encode_adaptive``: u16, as many codes as there are contexts."""
    decoder = _decoder(payload)
    codes = np.empty(plan.contexts.size, np.uint16)
    for start, stop, runs in plan.runs(model):
        block = codes[start:stop]
        for context, places in runs:
            block[places] = decoder.decode(_categorical(model.weights(context)), block[places].size)
        model.update(plan.contexts[start:stop], block)
    return codes


class Blocks:
    """The order in which codes are written: block by block, in a block context by context.

    Attributes:
      contexts: i64[m], of each code.
    """

    def __init__(self, contexts: np.ndarray, layers: tuple[int, ...], growth: int) -> None:
        self.contexts = contexts
        self._ends = models.block_ends(layers, growth)
        self._layer_begins = {0, *np.cumsum(layers).tolist()}

    def runs(self, model: models.Adaptive) -> Iterator[tuple[int, int, list[tuple[int, Places]]]]:
        """Gives start and stop of each block, and of each context in it the places.

        The codes of a context in a block are one call of the coder. Tells the model where a
        layer begins.
        """
        start = 0
        for stop in self._ends:
            if start in self._layer_begins:
                model.begin_layer()
            yield start, stop, _runs(self.contexts[start:stop])
            start = stop


def _runs(contexts: np.ndarray) -> list[tuple[int, Places]]:
    if contexts.strides == (0,):
        return [(int(contexts[0]), slice(None))]
    order = np.argsort(contexts, kind="stable")
    found, first = np.unique(contexts[order], return_index=True)
    return list(zip(found.tolist(), np.split(order, first[1:]), strict=True))


def _frequencies(levels: np.ndarray) -> np.ndarray:
    return models.LEVEL_FREQUENCIES[levels].astype(np.float64)


def _coder() -> Any:
    import constriction

    return constriction.stream.queue


def _categorical(weights: np.ndarray) -> Any:
    import constriction

    if weights.size == 1:  # the library wants two symbols at least; the second is never used
        weights = np.append(weights, 0.0)
    return constriction.stream.model.Categorical(weights, perfect=False)


def _payload(encoder: Any, size: int) -> bytes:
    words = encoder.get_compressed()
    least = -(-size // VALUES_PER_BYTE)
    return words.astype("<u4").tobytes().ljust(-(-least // 4) * 4, b"\0")


def _decoder(payload: bytes) -> Any:
    return _coder().RangeDecoder(np.frombuffer(payload, "<u4").astype(np.uint32))
