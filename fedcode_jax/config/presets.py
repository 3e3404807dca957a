"""Methods by the names of their papers: FedAvg with what they are composed of as its defaults.

Whatever a preset sets can be set otherwise, as of ``fedavg`` itself.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from fedcode_jax.config import checks
from fedcode_jax.config.algorithms import AlgorithmConfig, FedAvg, check_groups
from fedcode_jax.config.compressors import DownConfig, UpConfig
from fedcode_jax.config.server_steps import Adagrad, Adam, ServerConfig, Sgd, Yogi


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset(FedAvg):
    """FedAvg, its parts set as a paper has them."""

    def factory(self) -> Callable[..., Any]:
        """That of FedAvg."""
        return AlgorithmConfig.members["fedavg"]().factory()


_UP: dict[str, UpConfig] = {name: member() for name, member in UpConfig.members.items()}
_DOWN: dict[str, DownConfig] = {name: member() for name, member in DownConfig.members.items()}
_HEAVY: ServerConfig = Sgd(momentum=0.9)
_STEPS: dict[str, ServerConfig] = {"adam": Adam(), "yogi": Yogi(), "adagrad": Adagrad()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedPAQ(Preset):
    """FedAvg whose uploads are quantised at random, and so unbiased (arXiv 1909.13014)."""

    name: str = "fedpaq"
    up: UpConfig = _UP["qsgd"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopKUp(Preset):
    """FedAvg that uploads the largest values of a change, with feedback (arXiv 1809.07599)."""

    name: str = "topk"
    up: UpConfig = _UP["topk"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stc(Preset):
    """Sparse ternary compression both ways, with feedback (arXiv 1903.02891)."""

    name: str = "stc"
    up: UpConfig = _UP["stc"]
    down: DownConfig = _DOWN["stc"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignSgd(Preset):
    """Signs and one magnitude of each kernel up, with feedback (arXiv 1901.09847)."""

    name: str = "signsgd"
    groups: Annotated[str, check_groups] = "layers"
    up: UpConfig = _UP["sign"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dgc(Preset):
    """Deep gradient compression of changes, up (arXiv 1712.01887)."""

    name: str = "dgc"
    up: UpConfig = _UP["dgc"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drive(Preset):
    """Signs of the rotated change up, unbiased (arXiv 2105.08339)."""

    name: str = "drive"
    up: UpConfig = _UP["drive"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eden(Preset):
    """Values of the rotated change up, in few bits, unbiased (arXiv 2108.08842)."""

    name: str = "eden"
    up: UpConfig = _UP["eden"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mucsc(Preset):
    """Soft clustering of changes both ways: rounded to centers at random (arXiv 2105.04153)."""

    name: str = "mucsc"
    up: UpConfig = _UP["mucsc"]
    down: DownConfig = _DOWN["mucsc"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedZip(Preset):
    """The largest values of each kernel's change, by three centers, up (arXiv 2102.01593)."""

    name: str = "fedzip"
    groups: Annotated[str, check_groups] = "layers"
    up: UpConfig = _UP["fedzip"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Powersgd(Preset):
    """Each kernel's change up as a matrix of low rank, with feedback (arXiv 1905.13727)."""

    name: str = "powersgd"
    groups: Annotated[str, check_groups] = "layers"
    up: UpConfig = _UP["powersgd"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedProx(Preset):
    """FedAvg whose clients are held near where they start (arXiv 1812.06127)."""

    name: str = "fedprox"
    proximal: Annotated[float, checks.real(0)] = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedPer(Preset):
    """FedAvg whose clients keep the last layer, their own, to themselves (arXiv 1912.00818)."""

    name: str = "fedper"
    groups: Annotated[str, check_groups] = "*/head/*=local,params"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedBN(Preset):
    """FedAvg whose clients keep normalisation layers to themselves (arXiv 2102.07623)."""

    name: str = "fedbn"
    groups: Annotated[str, check_groups] = "kernel+bias=coded,norm+stats=local"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedAvgM(Preset):
    """FedAvg with momentum at the server (arXiv 1909.06335)."""

    name: str = "fedavgm"
    server: ServerConfig = _HEAVY


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedAdam(Preset):
    """FedAvg with Adam at the server (arXiv 2003.00295)."""

    name: str = "fedadam"
    server: ServerConfig = _STEPS["adam"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedYogi(Preset):
    """FedAvg with Yogi at the server (arXiv 2003.00295)."""

    name: str = "fedyogi"
    server: ServerConfig = _STEPS["yogi"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedAdagrad(Preset):
    """FedAvg with Adagrad at the server (arXiv 2003.00295)."""

    name: str = "fedadagrad"
    server: ServerConfig = _STEPS["adagrad"]


def composition(algorithm: AlgorithmConfig) -> str:
    """What an algorithm's name stands for: of FedAvg its parts, of others a rule of aggregation.

    Example:
      >>> composition(FedPAQ())
      'fedpaq: fedavg, up qsgd (bits 4, bucket 128, coding fixed, error_feedback none)'
      >>> composition(FedAvgM(proximal=0.1))
      'fedavgm: fedavg, server sgd (learning_rate 1.0, momentum 0.9), proximal 0.1'
    """
    plain = FedAvg()
    is_preset = isinstance(algorithm, FedAvg) and algorithm.name != "fedavg"
    parts = ["fedavg"] if is_preset else []
    for part in ("up", "down", "server", "aggregation"):
        own = getattr(algorithm, part, None)
        if own is not None and own != getattr(plain, part):
            settings = [
                f"{field.name} {getattr(own, field.name)}"
                for field in dataclasses.fields(own)
                if field.name != "name"
            ]
            parts.append(f"{part} {own.name}" + (f" ({', '.join(settings)})" if settings else ""))
    for setting in ("groups", "proximal") if isinstance(algorithm, FedAvg) else ():
        value = getattr(algorithm, setting)
        if value != getattr(plain, setting):
            parts.append(f"{setting} {value}")
    return f"{algorithm.name}: {', '.join(parts)}" if parts else algorithm.name
