"""The settings of how the server moves along the clients' mean change."""

import dataclasses
from typing import Annotated, ClassVar

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice

_SHARE = checks.real(0, 0.999999)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig(Choice):
    """How the server moves along the clients' mean change."""

    section: ClassVar[str] = "algorithm.server."
    default: ClassVar[str] = "sgd"
    room: ClassVar[str] = "fedcode_jax.algorithms.server_steps:registry"
    product: ClassVar[str] = "optax:GradientTransformation"

    name: Annotated[str, checks.text] = ""
    """sgd, which at its defaults adds the mean change; adam, yogi or adagrad (Reddi et al.); or
    module:factory, an optimiser of your own, of optax's form."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sgd(ServerConfig):
    """The mean change, with momentum if asked (FedAvgM)."""

    name: str = "sgd"
    learning_rate: Annotated[float, checks.real(0, above=True)] = 1.0
    """Of the mean change."""
    momentum: Annotated[float, _SHARE] = 0.0
    """Share of the last round's move that is added to this one's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Adaptive(ServerConfig):
    learning_rate: Annotated[float, checks.real(0, above=True)] = 0.01
    """Of the mean change over the root of its mean square."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(_Adaptive):
    """FedAdam: mean squares forget evenly."""

    name: str = "adam"
    b1: Annotated[float, _SHARE] = 0.9
    """Share of the mean that stays in a round."""
    b2: Annotated[float, _SHARE] = 0.99
    """Share of the mean square that stays in a round."""
    tau: Annotated[float, checks.real(0, above=True)] = 1e-3
    """Added to the root: how far from adaptive it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Yogi(_Adaptive):
    """FedYogi: mean squares fall slowly."""

    name: str = "yogi"
    b1: Annotated[float, _SHARE] = 0.9
    """Share of the mean that stays in a round."""
    b2: Annotated[float, _SHARE] = 0.99
    """How slowly the mean square moves."""
    tau: Annotated[float, checks.real(0, above=True)] = 1e-3
    """Added to the root: how far from adaptive it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adagrad(_Adaptive):
    """FedAdagrad: squares add up."""

    name: str = "adagrad"
    b1: Annotated[float, _SHARE] = 0.0
    """Share of the mean that stays in a round."""
    tau: Annotated[float, checks.real(0, above=True)] = 1e-3
    """Added to the root: how far from adaptive it is."""


AVERAGE: ServerConfig = Sgd()
