"""What a schedule is: a rule and its numbers, as a pytree."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.schedules.history import Memory, Number, Seen, forgotten, remembered


class Exchange(NamedTuple):
    """What the messages of one round carry, as traced values.

    Attributes:
      server_sends_weights: bool[], the broadcast holds weights; else only a codebook, or
        nothing.
      clients_send_weights: bool[], the same of the uploads.
    """

    server_sends_weights: jax.Array
    clients_send_weights: jax.Array


class Settings(NamedTuple):
    """The numbers of a schedule, traced; which of them count is up to its rule.

    Attributes:
      start: last round in which the server always sends weights; the clients stop one sooner.
      server_period: f1 in rounds.
      client_period: f2 in rounds.
      rounds: R, of the whole run.
      alpha: of ``step_size``, in the unit of the learning rate.
      threshold: of ``drift``, dimensionless.
      budget_bits: of ``budget``, both ways and all clients together.
      in_time: whether a client that could not deliver weights by the deadline of the round is
        asked for its codebook instead, whatever the rule.
    """

    start: Number = 2
    server_period: Number = 5
    client_period: Number = 2
    rounds: Number = 60
    alpha: Number = 1.0
    threshold: Number = 0.1
    budget_bits: Number = math.inf
    in_time: Number = False


class Moment(NamedTuple):
    """What a rule may look at before a round.

    Attributes:
      number: i32[], the round, counted from 1.
      learning_rate: f32[], of this round.
      cohort: M, clients in a round.
      clients: C, of whom these are drawn; fewer than M stand for M.
    """

    number: Number
    learning_rate: Number = 1.0
    cohort: Number = 1
    clients: Number = 1


Rule = Callable[[Settings, Memory, Moment], Exchange]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Schedule:
    """Which round sends what: a pytree, so that schedules can be stacked and swept.

    Attributes:
      rule: i32[], place of the rule in ``rules``.
      settings: its numbers.
      rules: every rule there is; schedules of different rules share one program.
      adaptive: those of them that go by what was seen, and so repeat after no period.
    """

    rule: Number
    settings: Settings
    rules: tuple[Rule, ...] = dataclasses.field(metadata={"static": True})
    adaptive: tuple[Rule, ...] = dataclasses.field(default=(), metadata={"static": True})

    @property
    def period(self) -> int | None:
        """Rounds over which a run averages its accuracy: lcm(f1, f2).

        None where the rule has none, because it goes by what it has seen.
        """
        if self.rules[int(self.rule)] in self.adaptive:
            return None
        return math.lcm(int(self.settings.server_period), int(self.settings.client_period))

    def with_settings(self, **changes: Number) -> "Schedule":
        """The schedule with some of its numbers changed."""
        return dataclasses.replace(self, settings=self.settings._replace(**changes))

    def decide(self, memory: Memory, moment: Moment) -> Exchange:
        """The exchange of a round.

        Args:
          memory: after the round before.
          moment: the round.

        Returns:
          The exchange; the same for all clients.
        """
        settings = Settings(*map(jnp.asarray, self.settings))
        moment = Moment(*map(jnp.asarray, moment))
        return jax.lax.switch(self.rule, self.rules, settings, memory, moment)

    def remember(self, memory: Memory, moment: Moment, exchange: Exchange, seen: Seen) -> Memory:
        """The memory after a round.

        Args:
          memory: before it.
          moment: the round.
          exchange: as ``decide`` gave it.
          seen: what happened.

        Returns:
          The new memory.
        """
        settings = self.settings
        pause = jnp.floor(jnp.square(settings.alpha / jnp.asarray(moment.learning_rate)))
        pause = jnp.minimum(pause, 2.0**30).astype(jnp.int32)
        # Bounded, so that the round in which a pause ends is an int32 as well.
        pauses = tuple(
            jnp.minimum(jnp.maximum(jnp.asarray(period), pause), 2**30)
            for period in (settings.server_period, settings.client_period)
        )
        return remembered(memory, jnp.asarray(moment.number), pauses, exchange, seen)

    def __call__(self, round: Number) -> Exchange:
        """The exchange of a round, from its number alone.

        All that an adaptive schedule can say this way is what it does in its first round.
        """
        return self.decide(forgotten(), Moment(round))
