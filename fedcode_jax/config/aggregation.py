"""The settings of how the server combines the clients' changes."""

import dataclasses
from typing import Annotated, ClassVar

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice


@dataclasses.dataclass(frozen=True, kw_only=True)
class AggregationConfig(Choice):
    """How the server combines what the clients send."""

    section: ClassVar[str] = "algorithm.aggregation."
    default: ClassVar[str] = "mean"
    room: ClassVar[str] = "fedcode_jax.aggregation:registry"
    product: ClassVar[str] = "fedcode_jax.aggregation:Aggregation"

    name: Annotated[str, checks.text] = ""
    """mean, by samples (feddyn: over clients); median or trimmed_mean of each coordinate;
    norm_clip, the mean of changes of bounded norm; krum or multi_krum, the changes nearest to most
    others; or module:factory, a rule of your own. All but the mean and norm_clip count clients
    alike, and all but the mean need the changes of all clients of a round at once, 4 bytes a
    value. Codebook rounds merge codebooks whatever it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mean(AggregationConfig):
    """The mean by samples: one hostile client can move it anywhere."""

    name: str = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Median(AggregationConfig):
    """Of each coordinate the median over the clients (arXiv 1803.01498)."""

    name: str = "median"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrimmedMean(AggregationConfig):
    """Of each coordinate the mean without its extremes (arXiv 1803.01498)."""

    name: str = "trimmed_mean"
    share: Annotated[float, checks.real(0, 0.49)] = 0.1
    """Share of the clients that is cut off on each side; of fewer than 1 / share none is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormClip(AggregationConfig):
    """The mean by samples of changes scaled down to a bounded norm (arXiv 1911.07963)."""

    name: str = "norm_clip"
    bound: Annotated[float | None, checks.real(0, above=True)] = None
    """Largest L2 norm of a client's whole change; None: the median of the round's norms."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Nearest(AggregationConfig):
    hostile: Annotated[int, checks.whole(0)] = 1
    """How many clients f of a round may be hostile; a round needs more than 2 f + 2 clients."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Krum(_Nearest):
    """The change of the one client whose nearest neighbours are nearest (Blanchard et al. 2017)."""

    name: str = "krum"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiKrum(_Nearest):
    """The mean change of the clients whose nearest neighbours are nearest (likewise)."""

    name: str = "multi_krum"
    chosen: Annotated[int, checks.whole(1)] = 3
    """How many clients are averaged."""


MEAN: AggregationConfig = Mean()
