"""Cards of the compressors: what each sends, in how many bits by its paper, whether unbiased."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

Shape = tuple[int, ...]


class Card(NamedTuple):
    """What to know of a compressor before choosing it; its settings say the rest.

    Attributes:
      sends: of a vector.
      formula: of the bits of a value, as its paper has it, n being the values of the vector.
      bits: (settings, shape of the variable, or (n,) where several are compressed together) ->
        bits of a value, float, by the formula; headers of the message come on top.
      source: the paper.
      at_most: (settings) -> whether the formula is a bound, since sizes follow the values.
      unbiased: (settings) -> whether the mean over draws is the vector.
      note: where it differs from its paper, or what to look out for.
    """

    sends: str
    formula: str
    bits: Callable[[Any, Shape], float]
    source: str
    at_most: Callable[[Any], bool] = lambda settings: False
    unbiased: Callable[[Any], bool] = lambda settings: False
    note: str = ""


def entropy(share: float) -> float:
    """h(p), the bits of a choice of two.

    Example:
      >>> entropy(0.5), entropy(0.0)
      (1.0, 0.0)
    """
    if share in (0, 1):
        return 0.0
    return -share * math.log2(share) - (1 - share) * math.log2(1 - share)


def golomb(share: float) -> float:
    """Bits of the gap before each of the values that a share of them is, in a Golomb code.

        b + 1 / (1 - (1 - q)^(2^b)),   b = 1 + floor(log2(ln(phi - 1) / ln(1 - q)))

    Source: Sattler et al., arXiv 1903.02891, section V.

    Example:
      >>> round(0.01 * (golomb(0.01) + 1), 3)  # with a sign: STC at 1 %
      0.091
    """
    if share >= 1:
        return 0.0
    phi = (math.sqrt(5) + 1) / 2
    power = max(0, 1 + math.floor(math.log2(math.log(phi - 1) / math.log(1 - share))))
    return power + 1 / (1 - (1 - share) ** (2**power))


def of_codes(settings: Any, shape: Shape) -> float:
    """Bits of a value as one of K codes, or of a block of them, and of the codebook.

    Example:
      >>> from fedcode_jax.config.algorithms import FedCode
      >>> of_codes(FedCode(num_clusters=16), (1024,))
      4.5
    """
    n, K, block = math.prod(shape), settings.num_clusters, getattr(settings, "block", 1)
    return math.ceil(math.log2(K)) / block + 32 * K * block / n if K > 1 else 32 * block / n


def _share_sent(fraction: float, shape: Shape) -> float:
    n = math.prod(shape)
    return max(1, math.ceil(fraction * n - 1e-6)) / n


def _largest(settings: Any, shape: Shape) -> float:
    share = _share_sent(settings.fraction, shape)
    return share * (32 + golomb(share))


def _stc(settings: Any, shape: Shape) -> float:
    share = _share_sent(settings.fraction, shape)
    return share * (1 + golomb(share)) + 32 / math.prod(shape)


def _eden(settings: Any, shape: Shape) -> float:
    numbers = 2 if settings.bits <= 1 else 1 + 2**settings.bits
    return settings.bits + 32 * numbers / math.prod(shape)


def _fedzip(settings: Any, shape: Shape) -> float:
    chosen = settings.keep * math.log2(max(settings.num_clusters - 1, 1))
    return entropy(settings.keep) + chosen + 32 * settings.num_clusters / math.prod(shape)


def _low_rank(settings: Any, shape: Shape) -> float:
    n, m = math.prod(shape[:-1]), math.prod(shape[-1:])
    return min(32 * settings.rank * (n + m) / (n * m), 32.0)


CARDS: dict[str, Card] = {
    "none": Card("float32", "32", lambda settings, shape: 32.0, "", unbiased=lambda settings: True),
    "codebook": Card(
        "K centers and a code for each value (with `block` B, of B values; product quantisation)",
        "at most ceil(log2 K) / B + 32 K B / n",
        of_codes,
        "1-D k-means; with `rate_weight`, entropy-constrained: Chou et al. 1989",
        at_most=lambda settings: settings.coding != "fixed" or settings.block > 1,
    ),
    "dgc": Card(
        "the largest values of what momentum gathered, and their positions",
        "f (32 + Golomb(f))",
        _largest,
        "1712.01887",
        note="the threshold is exact; the share does not fall in the first epochs",
    ),
    "drive": Card(
        "the signs of the rotated vector, a scale and a seed",
        "1 + 64 / n",
        lambda settings, shape: 1 + 64 / math.prod(shape),
        "2105.08339",
        unbiased=lambda settings: settings.unbiased,
        note="several Hadamard transforms without padding in place of one with",
    ),
    "eden": Card(
        "the rotated vector in b bits a value, its centers and a seed",
        "b + 32 (1 + 2^b) / n; b + 64 / n to 1 bit",
        _eden,
        "2108.08842",
        unbiased=lambda settings: settings.unbiased,
        note="as drive",
    ),
    "fedzip": Card(
        "a share k of the values by K centers, the others as 0",
        "at most h(k) + k log2(K - 1) + 32 K / n",
        _fedzip,
        "2102.01593",
        at_most=lambda settings: True,
        note="at its entropy; the published program counts a code that cannot be decoded",
    ),
    "mucsc": Card(
        "K centers and a code for each value, rounded to at random",
        "ceil(log2 K) + 32 K / n",
        of_codes,
        "2105.04153",
        at_most=lambda settings: settings.coding != "fixed",
        unbiased=lambda settings: not settings.insignificant,
    ),
    "powersgd": Card(
        "each kernel n x m as two factors of r columns",
        "32 r (n + m) / (n m)",
        _low_rank,
        "1905.13727",
        at_most=lambda settings: True,
        note="factors of each client's own matrix, of 20 bits in place of 32, averaged as products",
    ),
    "qsgd": Card(
        "levels of a bucket's norm, rounded at random",
        "b + 32 / bucket, b = ceil(log2(2 s + 1))",
        lambda settings, shape: (
            settings.bits + 32 * math.ceil(math.prod(shape) / settings.bucket) / math.prod(shape)
        ),
        "1610.02132",
        at_most=lambda settings: settings.coding != "fixed",
        unbiased=lambda settings: True,
        note="whole bits a level; with `coding` entropy fewer than the paper's log2(2 s + 1)",
    ),
    "sign": Card(
        "the sign of each value and their mean magnitude",
        "1 + 32 / n",
        lambda settings, shape: 1 + 32 / math.prod(shape),
        "1901.09847",
    ),
    "stc": Card(
        "the signs and positions of the largest values, and their mean magnitude",
        "f (1 + Golomb(f)) + 32 / n",
        _stc,
        "1903.02891",
    ),
    "topk": Card(
        "the largest values and their positions",
        "f (32 + Golomb(f))",
        _largest,
        "1809.07599",
    ),
}
"""By ``algorithm.up.name`` and ``algorithm.down.name``."""
