"""Codes to bytes and back with an asymmetric numeral system, under the models of ``probabilities``.

The coder is a stack: what is read first is written last. It loses nothing worth counting even on
codes that are nearly all the same, and what it has read it can put back, so that the bytes of a
payload are those that a writer makes if and only if reading them ends where writing begins.
"""

from typing import Any

import numpy as np

from fedcode_jax.wire import probabilities
from fedcode_jax.wire.format import VALUES_PER_BYTE

Places = np.ndarray | slice

START_BITS = 24
"""A coder starts from the number 2^24. Below it, codes of high probability would cost nothing,
and no count of bits would hold."""

_START = np.array([2**START_BITS], np.uint32)
_PIECE = 2**20  # codes that the coder gives at once, as 32-bit numbers


def encode_static(codes: np.ndarray, levels: np.ndarray) -> bytes:
    """Codes by a table of levels, which holds a level above 0 for each of them."""
    if np.count_nonzero(levels) == 1:
        return bytes(_least(codes.size))
    coder = _coder(_START)
    coder.encode_reverse(codes.astype(np.int32), _categorical(_frequencies(levels)))
    return _payload(coder, codes.size)


def decode_static(payload: bytes, size: int, levels: np.ndarray) -> np.ndarray:
    """The inverse of ``encode_static``: u16[size].

    Raises:
      ValueError: the payload is not the one of these codes.
    """
    used = np.flatnonzero(levels)
    if used.size == 1:
        if payload != bytes(_least(size)):
            raise ValueError("a payload of codes that are all the same")
        return np.broadcast_to(np.uint16(used[0]), (size,))
    coder, model = _filled(payload, size), _categorical(_frequencies(levels))
    codes = np.empty(size, np.uint16)
    for start in range(0, size, _PIECE):
        piece = coder.decode(model, min(_PIECE, size - start))
        codes[start : start + _PIECE] = piece
        if not levels[piece].all():
            raise ValueError("a code that its table does not have")
    _check_end(coder)
    return codes


def encode_adaptive(codes: np.ndarray, model: probabilities.Adaptive, plan: "Blocks") -> bytes:
    """Codes by a model that learns from them block by block.

    What is read last is written first: the model learns all codes, and unlearns them on the way.
    """
    blocks = plan.blocks()
    for start, stop, begins in blocks:
        if begins:
            model.begin_layer()
        model.update(plan.contexts[start:stop], codes[start:stop])
    coder, layer_end = _coder(_START), codes.size
    for start, stop, begins in reversed(blocks):
        if stop == layer_end:
            layer = slice(plan.layer_begin(start), stop)
            model.end_layer(plan.contexts[layer], codes[layer])
        block, contexts = codes[start:stop].astype(np.int32), plan.contexts[start:stop]
        model.update(contexts, block, times=-1)
        for context, places in reversed(_runs(contexts)):
            coder.encode_reverse(block[places], _categorical(model.weights(context)))
        if begins:
            layer_end = start
    return _payload(coder, codes.size)


def decode_adaptive(payload: bytes, model: probabilities.Adaptive, plan: "Blocks") -> np.ndarray:
    """The inverse of ``encode_adaptive``: u16, as many codes as there are contexts.

    Raises:
      ValueError: the payload is not the one of these codes.
    """
    codes = np.empty(plan.contexts.size, np.uint16)
    coder = _filled(payload, codes.size)
    for start, stop, begins in plan.blocks():
        if begins:
            model.begin_layer()
        block, contexts = codes[start:stop], plan.contexts[start:stop]
        for context, places in _runs(contexts):
            block[places] = coder.decode(_categorical(model.weights(context)), block[places].size)
        if block.max() >= model.num_symbols:
            raise ValueError("a code that there is no center for")
        model.update(contexts, block)
    _check_end(coder)
    return codes


class Blocks:
    """The order in which codes are read: block by block, in a block context by context.

    Attributes:
      contexts: i64[m], of each code.
    """

    def __init__(self, contexts: np.ndarray, layers: tuple[int, ...], growth: int) -> None:
        self.contexts = contexts
        self._ends = probabilities.block_ends(layers, growth)
        self._layer_begins = np.unique([0, *np.cumsum(layers)])

    def blocks(self) -> list[tuple[int, int, bool]]:
        """Start and stop of each block, and whether it begins a layer."""
        starts = [0, *self._ends[:-1]]
        begins = np.isin(starts, self._layer_begins).tolist()
        return list(zip(starts, self._ends, begins, strict=True))

    def layer_begin(self, place: int) -> int:
        """Where the layer of a place begins."""
        return int(self._layer_begins[np.searchsorted(self._layer_begins, place, "right") - 1])


def _runs(contexts: np.ndarray) -> list[tuple[int, Places]]:
    if contexts.strides == (0,):
        return [(int(contexts[0]), slice(None))]
    order = np.argsort(contexts, kind="stable")
    found, first = np.unique(contexts[order], return_index=True)
    return list(zip(found.tolist(), np.split(order, first[1:]), strict=True))


def _frequencies(levels: np.ndarray) -> np.ndarray:
    return probabilities.LEVEL_FREQUENCIES[levels].astype(np.float64)


def _coder(words: np.ndarray) -> Any:
    import constriction

    return constriction.stream.stack.AnsCoder(words)


def _categorical(weights: np.ndarray) -> Any:
    import constriction

    if weights.size == 1:  # the library wants two symbols at least; the second is never used
        weights = np.append(weights, 0.0)
    return constriction.stream.model.Categorical(weights, perfect=False)


def _payload(coder: Any, size: int) -> bytes:
    """The words of the coder, filled with zero words to the least length."""
    return coder.get_compressed().astype("<u4").tobytes().ljust(_least(size), b"\0")


def _filled(payload: bytes, size: int) -> Any:
    """The inverse of ``_payload``: the last word of a coder is never zero."""
    words = np.frombuffer(payload, "<u4").astype(np.uint32)
    filled = np.flatnonzero(words)
    count = int(filled[-1]) + 1 if filled.size else 0
    if len(payload) != max(4 * count, _least(size)):
        raise ValueError(f"a payload of {len(payload)} bytes with {count} words in use")
    return _coder(words[:count])


def _least(size: int) -> int:
    return 4 * -(-size // (4 * VALUES_PER_BYTE))


def _check_end(coder: Any) -> None:
    if not np.array_equal(coder.get_compressed(), _START):
        raise ValueError("the payload does not end with its codes")
