"""Which round sends what: round -> exchange."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.errors import ConfigError


class Exchange(NamedTuple):
    """What the messages of one round carry, as traced values.

    Attributes:
      server_sends_weights: bool[], the broadcast holds weights; else only a codebook, or
        nothing.
      clients_send_weights: bool[], the same of the uploads.
    """

    server_sends_weights: jax.Array
    clients_send_weights: jax.Array


class Schedule(Protocol):
    """A pure function from the round, counted from 1, to its exchange.

    ``period`` is the number of rounds after which the pattern repeats: the window over
    which a run averages its accuracy.
    """

    @property
    def period(self) -> int:
        """Rounds after which the pattern repeats."""

    def __call__(self, round: jax.Array | int) -> Exchange:
        """The exchange of a round."""


@dataclasses.dataclass(frozen=True)
class _Periodic:
    start: int
    server_period: int
    client_period: int

    @property
    def period(self) -> int:
        return math.lcm(self.server_period, self.client_period)

    def __call__(self, round: jax.Array | int) -> Exchange:
        t = jnp.asarray(round)
        return Exchange(
            server_sends_weights=(t <= self.start) | (t % self.server_period == 0),
            clients_send_weights=(t < self.start) | (t % self.client_period == 0),
        )


def periodic(start: int = 2, server_period: int = 5, client_period: int = 2) -> Schedule:
    """The schedule of the paper: weights at first, then every f1 and f2 rounds.

    In round t the server sends weights if t <= start or t mod f1 = 0, the clients if
    t < start or t mod f2 = 0. The two comparisons differ, as in the authors' program.

    Args:
      start: last round in which the server always sends weights, >= 0.
      server_period: f1 in rounds, >= 1; 1 means weights in every round.
      client_period: f2 in rounds, >= 1.

    Returns:
      The schedule; its period is lcm(f1, f2).

    Raises:
      ConfigError: a period below 1 or a start below 0.

    Source: FedCode, arXiv 2311.09270, section 3, and the authors' program.

    Example:
      >>> schedule = periodic()
      >>> [t for t in range(1, 13) if schedule(t).server_sends_weights]
      [1, 2, 5, 10]
      >>> [t for t in range(1, 13) if schedule(t).clients_send_weights]
      [1, 2, 4, 6, 8, 10, 12]
    """
    _check_at_least("schedule.start", start, 0)
    _check_at_least("schedule.server_period", server_period, 1)
    _check_at_least("schedule.client_period", client_period, 1)
    return _Periodic(start, server_period, client_period)


@dataclasses.dataclass(frozen=True)
class _Constant:
    weights: bool
    period: int = 1

    def __call__(self, round: jax.Array | int) -> Exchange:
        flag = jnp.full(jnp.shape(round), self.weights)
        return Exchange(flag, flag)


def always() -> Schedule:
    """Weights both ways in every round.

    Example:
      >>> bool(always()(7).clients_send_weights)
      True
    """
    return _Constant(True)


def never() -> Schedule:
    """Weights in no round.

    Example:
      >>> bool(never()(7).server_sends_weights)
      False
    """
    return _Constant(False)


@dataclasses.dataclass(frozen=True)
class _Every:
    period: int

    def __call__(self, round: jax.Array | int) -> Exchange:
        t = jnp.asarray(round)
        return Exchange((t - 1) % self.period == 0, t % self.period == 0)


def every(period: int) -> Schedule:
    """Full synchronisation every f rounds, with f rounds of local training in between.

    The clients send in rounds t with t mod f = 0, and the server sends the new weights at
    the beginning of the next round.

    Args:
      period: f in rounds, >= 1.

    Returns:
      The schedule.

    Raises:
      ConfigError: a period below 1.

    Example:
      >>> [t for t in range(1, 8) if every(3)(t).server_sends_weights]
      [1, 4, 7]
    """
    _check_at_least("algorithm.period", period, 1)
    return _Every(period)


registry: dict[str, Callable[..., Schedule]] = {"periodic": periodic}
"""The schedules that ``schedule.name`` can choose."""


def _check_at_least(setting: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{setting}: {value!r} is not allowed; give a whole number >= {least}")
