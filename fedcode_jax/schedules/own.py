"""A schedule of one's own, from the function that decides."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.errors import ConfigError
from fedcode_jax.limits import check_whole
from fedcode_jax.names import one_line
from fedcode_jax.schedules.base import Exchange, Moment, Schedule, Settings
from fedcode_jax.schedules.history import Memory, forgotten
from fedcode_jax.schedules.making import _dtype


def from_rule(
    rule: Callable[[Settings, Memory, Moment], Any], *, period: int | None = None, **numbers: float
) -> Schedule:
    """A schedule that decides by a rule of one's own.

    Args:
      rule: ``(settings, memory, moment)`` to an ``Exchange``, or to the pair of truths that it is
        made of: whether the server sends weights in this round, and whether the clients do. It is
        traced: ``moment.number`` is the round, counted from 1.
      period: rounds after which it repeats, over which accuracy is averaged; None: it does not.
      **numbers: of ``Settings``, for the rule to look at.

    Returns:
      The schedule.

    Raises:
      ConfigError: a period below 1.

    Example:
      >>> thirds = from_rule(lambda settings, memory, moment: (moment.number % 3 == 1, True))
      >>> [t for t in range(1, 9) if thirds(t).server_sends_weights]
      [1, 4, 7]
    """
    if period is not None:
        check_whole("schedule.period", period, 1)
        numbers = {**numbers, "server_period": period, "client_period": period}

    def decide(settings: Settings, memory: Memory, moment: Moment) -> Exchange:
        server, clients = rule(settings, memory, moment)
        return Exchange(jnp.asarray(server, bool), jnp.asarray(clients, bool))

    defaults = Settings()._asdict()
    values: dict[str, Any] = {
        name: np.asarray(numbers.get(name, value), _dtype(value))[()]
        for name, value in defaults.items()
    }
    settings = Settings(**values)
    return Schedule(np.int32(0), settings, (decide,), () if period else (decide,))


def check_schedule(schedule: Schedule) -> None:
    """Traces a decision of a schedule of one's own.

    Args:
      schedule: the schedule.

    Raises:
      ConfigError: its rule raises, or gives something else than two truths.

    Example:
      >>> check_schedule(from_rule(lambda settings, memory, moment: True))
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: schedule: its rule raises TypeError: ...
    """
    try:
        found = jax.eval_shape(lambda number: schedule.decide(forgotten(), Moment(number)), 1)
    except Exception as error:
        raise ConfigError(
            f"schedule: its rule raises {one_line(error)}; it is called as (settings, memory, "
            "moment), traced (moment.number is no Python number: compute with it, do not branch on "
            "it), and gives two truths: whether the server and whether the clients send weights"
        ) from None
    for leaf in jax.tree.leaves(found):
        if leaf.shape != () or leaf.dtype != jnp.bool_:
            raise ConfigError(
                f"schedule: its rule gives {leaf.dtype}{list(leaf.shape)}; it must give two truths"
            )
