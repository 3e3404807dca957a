"""The settings of the schedules: in which rounds weights are sent, and in which codebooks alone."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Choice):
    """In which rounds weights are sent, and in which codebooks alone."""

    section: ClassVar[str] = "schedule."
    default: ClassVar[str] = "periodic"
    room: ClassVar[str] = "fedcode_jax.schedules:registry"
    inputs: ClassVar[frozenset[str]] = frozenset({"rounds"})
    beside: ClassVar[frozenset[str]] = frozenset({"uplink"})
    product: ClassVar[str] = "fedcode_jax.schedules:Schedule"
    adaptive: ClassVar[bool] = False
    """Of a member: whether it goes by what it has seen, or by the learning rate."""

    name: Annotated[str, checks.text] = ""
    """Rule: periodic (the paper's), weights in the first rounds and then every f1 and f2; paired,
    the same, but the server a round after the clients, when it has averaged; warmup, often at
    first, in gaps that double up to f1 and f2; late, its mirror in time; step_size (QSR), in gaps
    that grow as the learning rate falls; drift, when models have moved by more than a threshold;
    budget, as often as a number of megabytes allows; or module:factory, a rule of your own."""
    uplink: Literal["all", "in_time"] = "all"
    """Which clients are asked for weights when their time has come: all, or those that can expect
    to deliver them by network.deadline; the others send their codebook, or nothing where the
    algorithm has none."""

    def build(self, **inputs: Any) -> Any:
        """The schedule."""
        import numpy as np

        schedule = super().build(**inputs)
        return schedule.with_settings(in_time=np.bool_(self.uplink == "in_time"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Paced(ScheduleConfig):
    start: Annotated[int, checks.whole(0)] = 2
    """Last round in which the server always sends weights; the clients stop a round sooner. Of the
    rule late: rounds at the end."""
    server_period: Annotated[int, checks.whole(1)] = 5
    """f1: afterwards the server sends weights every f1 rounds; 1: always. The longest gap of warmup
    and late, the shortest of step_size."""
    client_period: Annotated[int, checks.whole(1)] = 2
    """f2: the same of the clients. Reported accuracy is a mean over lcm(f1, f2) rounds, where that
    is not more than there are; step_size has no such period."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Periodic(_Paced):
    """Weights in the first rounds and then every f1 and f2 rounds: the paper's."""

    name: str = "periodic"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired(_Paced):
    """Periodic, but the server sends weights a round after the clients, when it has averaged."""

    name: str = "paired"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warmup(_Paced):
    """Often at first, in gaps that double up to f1 and f2."""

    name: str = "warmup"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Late(_Paced):
    """Rarely at first, often at last: warmup mirrored in time."""

    name: str = "late"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepSize(_Paced):
    """In gaps that grow as the learning rate falls (QSR)."""

    name: str = "step_size"
    adaptive: ClassVar[bool] = True
    alpha: Annotated[float, checks.real(0, above=True)] = 1e-3
    """Gaps are (alpha / learning rate)^2 rounds, if that is more than f1 and f2."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift(ScheduleConfig):
    """When models have moved by more than a threshold."""

    name: str = "drift"
    beside: ClassVar[frozenset[str]] = frozenset({"uplink", "measure"})
    adaptive: ClassVar[bool] = True
    start: Annotated[int, checks.whole(0)] = 2
    """Last round in which the server always sends weights; the clients stop a round sooner."""
    measure: Literal["codebook", "sketch"] = "codebook"
    """What is measured: how far codebooks have moved, relative to their spread, or the variance
    among the clients' models, relative to their size, from a sketch of 32 floats in each upload."""
    threshold: Annotated[float, checks.real(0, above=True)] = 0.1
    """Above it weights are sent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget(ScheduleConfig):
    """As often as a number of megabytes allows."""

    name: str = "budget"
    adaptive: ClassVar[bool] = True
    budget_mb: Annotated[float, checks.real(0, 1e30, above=True)] = 2.0
    """Megabytes both ways, of all clients, in the whole run. It must pay for all codebooks, the
    first weights of the clients that are to be expected, and a calibration."""
