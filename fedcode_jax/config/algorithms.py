"""The settings of the algorithms: what is sent, and how the server combines it."""

import dataclasses
import math
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.aggregation import MEAN, AggregationConfig
from fedcode_jax.config.checks import registered
from fedcode_jax.config.choice import Choice
from fedcode_jax.config.compressors import NOTHING_DOWN, NOTHING_UP, DownConfig, UpConfig
from fedcode_jax.config.server_steps import AVERAGE, ServerConfig
from fedcode_jax.limits import check_probability


def check_groups(setting: str, value: Any) -> str:
    """Checks which values are sent together, as of ``groups.parse``."""
    from fedcode_jax.algorithms import groups

    groups.parse(checks.text(setting, value))
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlgorithmConfig(Choice):
    """What is sent, and how the server combines it."""

    section: ClassVar[str] = "algorithm."
    default: ClassVar[str] = "fedcode"
    inputs: ClassVar[frozenset[str]] = frozenset({"model", "input_shape"})
    room: ClassVar[str] = "fedcode_jax.algorithms:registry"
    product: ClassVar[str] = "fedcode_jax.algorithms:Algorithm"
    own_schedule: ClassVar[bool] = False
    """Of a member: whether it says itself in which rounds weights are sent."""
    needs_sgd: ClassVar[bool] = False
    """Of a member: whether it reads gradients off what plain SGD makes of weights."""
    takes_init: ClassVar[bool] = True
    """Of a member: whether its model is made of the weights that it starts from."""

    name: Annotated[str, checks.text] = ""
    """fedcode or fedavg; a control: skip, local_only, weight_clustering, fedavg_every; scaffold,
    feddyn, fedbat, fedbif, fedpm, fedpm_mrc, lbgm or fedcompress; fedavg as a paper composes it:
    fedpaq, topk, stc, signsgd, dgc, drive, eden, mucsc, fedzip, powersgd, fedprox, fedper, fedbn,
    fedavgm, fedadam, fedyogi, fedadagrad; or module:factory, an algorithm of your own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Averaging(AlgorithmConfig):
    aggregation: AggregationConfig = MEAN
    """How the server combines what the clients send."""

    def arguments(self) -> dict[str, Any]:
        """With the rule of aggregation built, None for the mean."""
        rule = None if self.aggregation == MEAN else self.aggregation.build()
        return {**super().arguments(), "aggregation": rule}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Coded(_Averaging):
    num_clusters: Annotated[int, checks.whole(1, 65536)] = 64
    """Centers K of each codebook."""
    groups: Annotated[str, check_groups] = "kernels"
    """Which values share a codebook: kernels, layers (each kernel by itself), params (all that is
    trained), everything (the authors' program), or parts such as
    kernel=coded,bias+norm+stats=dense. A part may name variables by their paths, and is coded,
    layered (each variable by itself), sent as floats of 32 or 16 bits (dense, dense16, densebf16),
    or stays at the clients: */head/*=local,kernels."""
    coding: Annotated[str, registered("fedcode_jax.wire", "CODINGS")] = "fixed"
    """How codes are written: fixed (ceil(log2 K) bits each); entropy (by their frequencies);
    adaptive (frequencies learnt on the way, by layer); conditional (given the codes that both
    sides hold from the last weights message between them)."""
    block: Annotated[int, checks.whole(1, 256)] = 1
    """Consecutive values B that share a code; above 1, codewords are vectors."""
    rate_weight: Annotated[float, checks.real(0, 1e6)] = 0.0
    """Price of a bit of code length in the fit of codebooks, in squared error relative to the
    variance of the values; 0: plain k-means. Needs a coding other than fixed."""

    def check_together(self) -> None:
        """Checks that the settings of codebooks go with each other."""
        if (self.coding, self.block, self.rate_weight) != ("fixed", 1, 0.0):
            self.build()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedCode(_Coded):
    """Codebooks in most rounds, codebooks and codes in calibration rounds: the paper's."""

    name: str = "fedcode"
    merge: Literal["union", "rank_mean"] = "union"
    """How the server combines the clients' codebooks in a codebook round: union, the paper's, or
    rank_mean, the mean of the centers of equal rank."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skip(_Coded):
    """FedCode with nothing at all sent in its codebook rounds: a control."""

    name: str = "skip"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightClustering(_Coded):
    """FedCode with weights both ways in every round: a control."""

    name: str = "weight_clustering"
    own_schedule: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedAvg(_Averaging):
    """Weights as float32, both ways, every round; or changes, compressed."""

    name: str = "fedavg"
    own_schedule: ClassVar[bool] = True
    groups: Annotated[str, check_groups] = "params"
    """What is compressed together: params (all that is trained), kernels, layers (each kernel by
    itself), everything, or parts such as kernel=coded,bias+norm+stats=dense. A part may name
    variables by their paths, and is coded, layered (each variable by itself), sent as floats of 32
    or 16 bits (dense, dense16, densebf16), or stays at the clients: */head/*=local,params."""
    up: UpConfig = NOTHING_UP
    """How the clients' changes are compressed."""
    down: DownConfig = NOTHING_DOWN
    """How the server's changes are compressed; what is left out goes with the next ones."""
    server: ServerConfig = AVERAGE
    """How the server moves along the clients' mean change."""
    proximal: Annotated[float, checks.real(0)] = 0.0
    """FedProx's mu, how firmly clients are held to where they start; 0: not at all."""

    def arguments(self) -> dict[str, Any]:
        """With what is a part of its own built, None where it is as without."""
        step = None if self.server == AVERAGE else self.server.build()
        parts = {"up": self.up.build(), "down": self.down.build(), "server": step}
        return {**super().arguments(), **parts}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedAvgEvery(_Averaging):
    """FedAvg each few rounds, local training alone in between: a control."""

    name: str = "fedavg_every"
    own_schedule: ClassVar[bool] = True
    period: Annotated[int, checks.whole(1)] = 5
    """Rounds between two exchanges."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalOnly(AlgorithmConfig):
    """Each client trains on its own data, and nothing is sent but the first weights: a control."""

    name: str = "local_only"
    own_schedule: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaffold(_Averaging):
    """Control variates take clients' drift out of every local step (arXiv 1910.06378)."""

    name: str = "scaffold"
    own_schedule: ClassVar[bool] = True
    needs_sgd: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedDyn(_Averaging):
    """Dynamic regularisation of the clients' losses (arXiv 2111.04263)."""

    name: str = "feddyn"
    own_schedule: ClassVar[bool] = True
    alpha: Annotated[float, checks.real(0, above=True)] = 0.01
    """How firmly clients are held to where they start; the paper's are 0.1, 0.01 and 0.001."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedBAT(_Averaging):
    """Clients learn a change of one bit a value, and its size (arXiv 2408.03215)."""

    name: str = "fedbat"
    own_schedule: ClassVar[bool] = True
    rho: Annotated[float, checks.real(0)] = 6.0
    """How fast the size of a kernel's change is learnt; the authors try 2 to 10; 0: not at all."""
    phi: Annotated[float, check_probability] = 0.5
    """Share of a client's steps before its change is binarised."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedBiF(AlgorithmConfig):
    """Clients train one bit of every weight, the others frozen (arXiv 2509.10161)."""

    name: str = "fedbif"
    own_schedule: ClassVar[bool] = True
    bits: Annotated[int, checks.whole(2, 8)] = 3
    """Bits m of a weight as it goes down, of which clients train one a round, in turn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedPM(AlgorithmConfig):
    """Masks over random weights, which stay as they are (arXiv 2209.15328)."""

    name: str = "fedpm"
    own_schedule: ClassVar[bool] = True
    takes_init: ClassVar[bool] = False
    levels: Annotated[int, checks.whole(0, 255)] = 0
    """To how many steps probabilities are rounded at random on the way down; 0: float32."""
    coding: Literal["fixed", "entropy", "adaptive"] = "entropy"
    """How masks and levels are written: fixed (a bit of a mask); entropy (by their frequencies);
    adaptive (frequencies learnt on the way, by layer)."""
    reset: Annotated[int, checks.whole(1)] = 1
    """Rounds that share a prior; the paper's is about clients over clients in a round."""
    scale: Annotated[float, checks.real(0, above=True)] = math.e
    """Of the weights, which are of magnitude scale / sqrt(fan-in)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedPMMrc(AlgorithmConfig):
    """FedPM with masks as numbers of shared candidates, both ways (arXiv 2306.12625, up)."""

    name: str = "fedpm_mrc"
    own_schedule: ClassVar[bool] = True
    takes_init: ClassVar[bool] = False
    block: Annotated[int, checks.whole(1)] = 64
    """Values of a mask that share a number."""
    bits: Annotated[int, checks.whole(1, 16)] = 8
    """Of a number, log2 of the candidates of a block; the work of coding doubles with each."""
    samples: Annotated[int, checks.whole(1, 255)] = 10
    """Masks that go down in a round, whose share of ones clients start from."""
    scale: Annotated[float, checks.real(0, above=True)] = math.e
    """Of the weights, which are of magnitude scale / sqrt(fan-in)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lbgm(_Averaging):
    """A number for a change that is nearly parallel to an earlier one (arXiv 2202.00280)."""

    name: str = "lbgm"
    own_schedule: ClassVar[bool] = True
    threshold: Annotated[float, checks.real(0, 1)] = 0.2
    """The squared sine of the angle to the last change sent in full, up to which only a number is
    sent; 0.2 in most of the authors' runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedCompress(_Averaging):
    """Training towards few centers a kernel, and distillation at the server (arXiv 2401.14211)."""

    name: str = "fedcompress"
    own_schedule: ClassVar[bool] = True
    num_clusters: Annotated[int, checks.whole(1, 256)] = 8
    """Centers of each kernel at first."""
    max_clusters: Annotated[int, checks.whole(1, 256)] = 30
    """Centers of each kernel at most; at least num_clusters."""
    limit: Annotated[float, checks.real(0)] = 0.01
    """Share of the loss, averaged over three rounds, by which it must fall for the number of
    centers to stay; less for each center added."""
    patience: Annotated[int, checks.whole(1)] = 4
    """Rounds with each number of centers, at least."""
    distil_steps: Annotated[int, checks.whole(0)] = 10
    """Steps of distillation on noise, at the server after each round; 0: none."""
    coding: Annotated[str, registered("fedcode_jax.wire", "CODINGS")] = "entropy"
    """How codes are written, as of fedcode; fixed counts as if max_clusters were in use."""

    def check_together(self) -> None:
        """Checks that there may be as many centers as there are at first."""
        checks.whole(self.num_clusters, 256)("algorithm.max_clusters", self.max_clusters)
