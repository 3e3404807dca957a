"""Rules by which the server combines clients' changes: the mean, and robust ones."""

from collections.abc import Callable

from fedcode_jax.aggregation.base import Aggregation, Combined, Moves, weighted_mean
from fedcode_jax.aggregation.krum import krum, multi_krum
from fedcode_jax.aggregation.mean import mean
from fedcode_jax.aggregation.norm_clip import norm_clip
from fedcode_jax.aggregation.ranks import median, trimmed_mean

registry: dict[str, Callable[..., Aggregation]] = {
    "krum": krum,
    "mean": mean,
    "median": median,
    "multi_krum": multi_krum,
    "norm_clip": norm_clip,
    "trimmed_mean": trimmed_mean,
}
"""The rules that ``algorithm.aggregation.name`` can choose."""

__all__ = [
    "Aggregation",
    "Combined",
    "Moves",
    "krum",
    "mean",
    "median",
    "multi_krum",
    "norm_clip",
    "registry",
    "trimmed_mean",
    "weighted_mean",
]
