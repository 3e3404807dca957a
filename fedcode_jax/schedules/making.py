"""Schedules, made from the numbers of their rules.

The numbers are traced as int32 and float32; what these cannot hold is refused.
"""

from collections.abc import Callable

import numpy as np

from fedcode_jax.limits import check_real, check_whole
from fedcode_jax.schedules import rules
from fedcode_jax.schedules.base import Rule, Schedule, Settings

_BITS_PER_MB = 8e6


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
    return _paced(rules.periodic, start, server_period, client_period)


def paired(start: int = 2, server_period: int = 5, client_period: int = 2) -> Schedule:
    """The periods of ``periodic``, but the server sends weights a round after the clients.

    In a round of ``periodic`` in which both send weights the server sends first: what it sends is
    older than what the clients then send, and the average of that stays with the server until the
    next time. Here the clients send in rounds t with t mod f2 = 0, the server if
    (t - 1) mod f1 = 0, so that with f1 = f2 clients go on from the average.

    Args:
      start: last round in which the server always sends weights, >= 0.
      server_period: f1 in rounds, >= 1.
      client_period: f2 in rounds, >= 1.

    Returns:
      The schedule.

    Raises:
      ConfigError: a period below 1 or a start below 0.

    Example:
      >>> [t for t in range(1, 13) if paired(2, 5, 5)(t).clients_send_weights]
      [1, 5, 10]
      >>> [t for t in range(1, 13) if paired(2, 5, 5)(t).server_sends_weights]
      [1, 2, 6, 11]
    """
    return _paced(rules.paired, start, server_period, client_period)


def warmup(start: int = 2, server_period: int = 5, client_period: int = 2) -> Schedule:
    """Often at first: weights in each round of the start, then after 2, 4, 8, ... rounds.

    The gaps double until they reach f1 and f2. The clients' rounds are one ahead of the server's,
    so that what they send is averaged when the server sends.

    Args:
      start: last round in which the server always sends weights, >= 0.
      server_period: f1, the longest gap of the server in rounds, >= 1.
      client_period: f2, the longest gap of the clients in rounds, >= 1.

    Returns:
      The schedule.

    Raises:
      ConfigError: a period below 1 or a start below 0.

    Example:
      >>> [t for t in range(1, 40) if warmup(3, 10, 8)(t).clients_send_weights]
      [1, 2, 4, 8, 16, 24, 32]
    """
    return _paced(rules.warmup, start, server_period, client_period)


def late(
    start: int = 2, server_period: int = 5, client_period: int = 2, rounds: int = 60
) -> Schedule:
    """Rarely at first, often at last: ``warmup`` mirrored in time.

    Args:
      start: at the end of the run, rounds in each of which the clients send weights, >= 0.
      server_period: f1, the longest gap of the server in rounds, >= 1.
      client_period: f2, the longest gap of the clients in rounds, >= 1.
      rounds: R, of the run.

    Returns:
      The schedule.

    Raises:
      ConfigError: a period or a number of rounds below 1, or a start below 0.

    Source: the direction of AdaComm, arXiv 1810.08313, which communicates the more often the
    smaller the loss; here the pace is given, and spends as many calibrations as ``warmup``.

    Example:
      >>> [t for t in range(1, 41) if late(3, 10, 8, rounds=40)(t).clients_send_weights]
      [8, 16, 24, 32, 36, 38, 39, 40]
    """
    check_whole("rounds", rounds, 1)
    return _paced(rules.late, start, server_period, client_period, rounds=np.int32(rounds))


def step_size(
    start: int = 2, server_period: int = 5, client_period: int = 2, alpha: float = 1e-3
) -> Schedule:
    """Less often as the learning rate falls (QSR).

    The next weights follow after

        max(f, floor((alpha / learning rate)^2))

    rounds, with f = f1 for the server and f2 for the clients.

    Args:
      start: last round in which the server always sends weights, >= 0.
      server_period: f1, the shortest gap of the server in rounds, >= 1.
      client_period: f2, the shortest gap of the clients in rounds, >= 1.
      alpha: in the unit of the learning rate, > 0; a learning rate of alpha / 3 makes the gap 9.

    Returns:
      The schedule; with a learning rate that stays it is one of equal gaps.

    Raises:
      ConfigError: a period below 1, a start below 0, or an alpha that is not positive.

    Source: Gu et al., arXiv 2310.14423, which counts local steps where this counts rounds.

    Example:
      >>> float(step_size(alpha=0.01).settings.alpha) > 0
      True
    """
    check_real("schedule.alpha", alpha, 0, above=True)
    return _paced(rules.step_size, start, server_period, client_period, alpha=np.float32(alpha))


def drift(start: int = 2, threshold: float = 0.1) -> Schedule:
    """A calibration when models have moved by more than a threshold.

    After a round in which the signal exceeds the threshold the clients send weights, and the
    server in the round after. The signal is how far the clients' codebooks have moved since the
    server last held an average (``signals.moved``), or the variance among their models as
    sketches of them tell it (``signals.model_variance``).

    Args:
      start: last round in which the server always sends weights, >= 0.
      threshold: of the signal, dimensionless, > 0.

    Returns:
      The schedule.

    Raises:
      ConfigError: a start below 0 or a threshold that is not positive.

    Source: after FDA, arXiv 2405.20988.

    Example:
      >>> bool(drift()(5).clients_send_weights)
      False
    """
    check_real("schedule.threshold", threshold, 0, above=True)
    check_whole("schedule.start", start, 0)
    return _made(rules.drift, start=np.int32(start), threshold=np.float32(threshold))


def budget(budget_mb: float = 2.0, rounds: int = 60) -> Schedule:
    """As many calibrations as a number of megabytes pays for, equally far apart.

    In a calibration the clients send weights, and the server in the round after. What codebooks
    cost is set aside, and so are the weights in the first message to each client: of C, M are drawn
    a round, so that C (1 - (1 - M/C)^R) come to be expected in R rounds. The last calibration falls
    into the last round. Costs are those measured so far; what absent clients save is spent later.

    Args:
      budget_mb: megabytes (10^6 bytes) both ways, of all clients, in the whole run, > 0.
      rounds: R, of the run.

    Returns:
      The schedule.

    Raises:
      ConfigError: a budget that is not positive, or a number of rounds below 1.

    Example:
      >>> bool(budget()(1).server_sends_weights)
      True
    """
    check_real("schedule.budget_mb", budget_mb, 0, 1e30, above=True)
    check_whole("rounds", rounds, 1)
    bits = np.float32(budget_mb * _BITS_PER_MB)
    return _made(rules.budget, rounds=np.int32(rounds), budget_bits=bits)


def always() -> Schedule:
    """Weights both ways in every round.

    Example:
      >>> bool(always()(7).clients_send_weights)
      True
    """
    return _paced(rules.always, 0, 1, 1)


def never() -> Schedule:
    """Weights in no round.

    Example:
      >>> bool(never()(7).server_sends_weights)
      False
    """
    return _paced(rules.never, 0, 1, 1)


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
    check_whole("algorithm.period", period, 1)
    return _paced(rules.every, 0, period, period)


registry: dict[str, Callable[..., Schedule]] = {
    "periodic": periodic,
    "paired": paired,
    "warmup": warmup,
    "late": late,
    "step_size": step_size,
    "drift": drift,
    "budget": budget,
}
"""The schedules that ``schedule.name`` can choose."""


def _paced(rule: Rule, start: int, f1: int, f2: int, **others: np.generic) -> Schedule:
    check_whole("schedule.start", start, 0)
    check_whole("schedule.server_period", f1, 1)
    check_whole("schedule.client_period", f2, 1)
    periods = {"server_period": np.int32(f1), "client_period": np.int32(f2)}
    return _made(rule, start=np.int32(start), **periods, **others)


def _made(rule: Rule, **numbers: np.generic) -> Schedule:
    defaults = Settings(*(np.asarray(value, _dtype(value))[()] for value in Settings()))
    place = np.int32(rules.RULES.index(rule))
    return Schedule(place, defaults._replace(**numbers), rules.RULES, rules.ADAPTIVE)


def _dtype(value: object) -> type:
    # The same types in every schedule, so that they can be stacked.
    return {bool: np.bool_, int: np.int32}.get(type(value), np.float32)
