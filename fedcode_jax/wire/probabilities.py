"""The probability models of entropy-coded codes, as ``FORMAT.md`` specifies them.

Encoder and decoder must compute the same probabilities to the last bit. So everything here is
whole numbers, or one division, product and sum of float64, which IEEE 754 rounds alike
everywhere. ``code_lengths`` computes the code lengths of the same models in JAX.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

FIRST_BLOCK = 32  # codes before the first update of an adaptive model
ADAPTIVE_GROWTH, CONDITIONAL_GROWTH = 4, 1
SHARED_WEIGHT = 32  # codes that the shared distribution counts as, in each context
MAX_CONTEXTS = 256
LEVELS = 113
LEVEL_FREQUENCIES = np.array(
    [0, *(math.isqrt(math.isqrt(math.isqrt(2**eighths))) for eighths in range(LEVELS))]
)
"""Frequency of each level of a static table: 0, then floor(2^((level - 1) / 8)), up to 2^14."""


def static_levels(codes: np.ndarray, num_symbols: int) -> np.ndarray:
    """A table of frequencies in eight levels an octave.

    Args:
      codes: u8[n] or u16[n], n >= 1.
      num_symbols: above every code.

    Returns:
      levels: u8[num_symbols]; 0 for symbols that do not occur, 113 for the most frequent.

    Example:
      >>> static_levels(np.uint8([0, 0, 0, 0, 2]), 3).tolist()
      [113, 0, 97]
    """
    counts = np.bincount(codes, minlength=num_symbols).astype(np.float64)
    share = counts / counts.max()
    levels = np.rint(LEVELS + 8 * np.log2(np.where(share > 0, share, 1)))
    return np.where(counts > 0, np.maximum(levels, 1), 0).astype(np.uint8)


def block_ends(layers: Sequence[int], growth: int) -> list[int]:
    """Where the blocks of codes end, between which an adaptive model is updated.

    The first block of a layer has 32 codes, each later one a share of those before it in the
    layer, and at least 32; a layer's last block ends with it.

    Args:
      layers: number of codes of each layer.
      growth: a block has 1 / growth of the codes before it.

    Returns:
      The ends, ascending, the last one the number of all codes; none where there are no codes.

    Example:
      >>> block_ends([100, 40], 1)
      [32, 64, 100, 132, 140]
    """
    ends, begin = [], 0
    for size in layers:
        seen = 0
        while seen < size:
            seen = min(size, seen + max(FIRST_BLOCK, seen // growth))
            ends.append(begin + seen)
        begin += size
    return ends


def most_runs(size: int) -> int:
    """How many distributions conditional codes need at most: a block's contexts have one each.

    Example:
      >>> most_runs(32), most_runs(10_000)
      (32, 1792)
    """
    ends = [0, *block_ends((size,), CONDITIONAL_GROWTH)]
    return sum(min(MAX_CONTEXTS, b - a) for a, b in itertools.pairwise(ends))


def contexts_of(num_known: int) -> tuple[int, int]:
    """How the codes of a known codebook are grouped into contexts.

    Returns:
      width, the number of neighbouring codes in one context, and the number of contexts, at
      most 256.
    """
    width = math.ceil(num_known / MAX_CONTEXTS)
    return width, math.ceil(num_known / width)


def shared_start(num_symbols: int, *, peaked: bool) -> np.ndarray:
    """What the shared distribution over differences d = -(K - 1) .. K - 1 starts from.

    Args:
      num_symbols: K.
      peaked: whether small differences are expected.

    Returns:
      i64[2 K - 1], whole numbers >= 1: all 1, or 64 / (1 + d^2).
    """
    difference = np.arange(-(num_symbols - 1), num_symbols, dtype=np.int64)
    if not peaked:
        return np.ones_like(difference)
    return np.maximum(1, 64 // (1 + difference**2))


class Adaptive:
    """Probabilities of the next code in each context, learnt from the codes before.

    A context x expects codes near o_x. Its distribution is that of the codes seen in it, and,
    with a weight of 32 codes, that of the differences code - o_x seen in all contexts.

    Attributes:
      num_symbols: K, above every code.
    """

    def __init__(self, num_symbols: int, offsets: np.ndarray, *, peaked: bool) -> None:
        self.num_symbols = num_symbols
        self._first = num_symbols - 1 - np.asarray(offsets, np.int64)  # of code 0, in _shared
        self._shared = shared_start(num_symbols, peaked=peaked)
        self._own = np.zeros((len(offsets), num_symbols), np.int32)

    def weights(self, context: int) -> np.ndarray:
        """f64[K], proportional to the probabilities of the codes in a context."""
        first = self._first[context]
        shared = self._shared[first : first + self.num_symbols]
        return self._own[context] + SHARED_WEIGHT * (shared / shared.sum())

    def update(self, contexts: np.ndarray, codes: np.ndarray, times: int = 1) -> None:
        """Learns a block: i64[m] contexts and the codes in them; with times = -1 unlearns it."""
        codes = codes.astype(np.int64)
        np.add.at(self._own, (contexts, codes), times)
        np.add.at(self._shared, self._first[contexts] + codes, 2 * times)

    def begin_layer(self) -> None:
        """Forgets what each context has seen, but not what all have."""
        self._own[:] = 0

    def end_layer(self, contexts: np.ndarray, codes: np.ndarray) -> None:
        """What each context has seen when the codes of a layer have been learnt."""
        self._own[:] = 0
        np.add.at(self._own, (contexts, codes.astype(np.int64)), 1)
