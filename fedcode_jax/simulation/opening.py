"""How a round opens: who is in it, under which exchange, on which network."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import network, randomness
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, LocalTraining, Plan, dealt
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.optimizers import decayed
from fedcode_jax.network import Conditions
from fedcode_jax.schedules import Exchange, Moment, Schedule
from fedcode_jax.simulation.faults import Struck, met_with, strikes
from fedcode_jax.simulation.state import Settings, State

_COHORT, _SERVER, _CLIENTS, _NETWORK, _FAULTS, _RESTARTS = range(6)


class Opening(NamedTuple):
    """What is known of a round before anything is sent; M clients are in it.

    Attributes:
      number: i32[], counted from 1.
      learning_rate: f32[].
      schedule: the algorithm's own, or that of the settings.
      moment: what the schedule may look at.
      exchange: what it decided.
      clients: i32[M], in the order in which they run.
      num_samples: i32[M], N_i.
      samples: i32[M], that each trains on, epochs counted.
      met: what they meet with on the network.
      keys: of the clients in this round, [M].
      server_key: of the server.
      struck: the faults that strike in this round; None in a run without faults.
    """

    number: jax.Array
    learning_rate: jax.Array
    schedule: Schedule
    moment: Moment
    exchange: Exchange
    clients: jax.Array
    num_samples: jax.Array
    samples: jax.Array
    met: Conditions
    keys: jax.Array
    server_key: jax.Array
    struck: Struck | None = None


def opened(
    algorithm: Algorithm,
    training: LocalTraining,
    plan: Plan,
    cohort: int,
    state: State,
    data: ClientData,
    settings: Settings,
) -> Opening:
    """Draws the clients of the next round and what they meet with, and asks the schedule.

    Args:
      algorithm: whose own schedule, if it brings one, comes before that of the settings.
      training: what a client does.
      plan: how the clients run.
      cohort: M, clients in a round.
      state: before the round.
      data: the clients' data.
      settings: of the run.

    Returns:
      The opening; its clients stand in the order in which the plan is best given them.
    """
    number = state.round + 1
    key = randomness.key(settings.seed)
    rate = decayed(training.decay, settings.learning_rate, number, settings.rounds)
    schedule = settings.schedule if algorithm.schedule is None else algorithm.schedule
    moment = Moment(number, rate, cohort, data.sizes.shape[0])

    def key_for(purpose: int) -> jax.Array:
        return _derived(key, purpose, number)

    clients = sample_cohort(key_for(_COHORT), data.sizes.shape[0], cohort)
    met = network.conditions(settings.links, clients, key_for(_NETWORK))
    steps = num_steps(data.sizes[clients], training.epochs, training.batch_size)
    order = dealt(plan, jnp.where(met.away, 0, steps))
    clients, met = jax.tree.map(lambda leaf: leaf[order], (clients, met))
    num_samples = data.sizes[clients]
    struck = None
    if settings.faults is not None:
        struck = strikes(settings.faults, clients, key_for(_FAULTS), key_for(_RESTARTS))
        met = met_with(met, struck, settings.faults)
    return Opening(
        number=number,
        learning_rate=rate,
        schedule=schedule,
        moment=moment,
        exchange=schedule.decide(state.memory, moment),
        clients=clients,
        num_samples=num_samples,
        samples=num_samples * training.epochs,
        met=met,
        keys=jax.vmap(jax.random.fold_in, (None, 0))(key_for(_CLIENTS), clients),
        server_key=key_for(_SERVER),
        struck=struck,
    )


def _derived(key: jax.Array, purpose: int, number: jax.Array) -> jax.Array:
    """The key of a purpose in a round, from that of the run."""
    return jax.random.fold_in(jax.random.fold_in(key, purpose), number)


def most_visits(seed: int, rounds: int, num_clients: int, cohort: int) -> int:
    """In how many of the first rounds the client that was drawn most often has been drawn.

    Args:
      seed: of the run.
      rounds: that were done.
      num_clients: C.
      cohort: M.

    Returns:
      A number from 0 to ``rounds``.

    Example:
      >>> most_visits(0, 6, 5, 5), 2 <= most_visits(0, 6, 5, 2) <= 6
      (6, True)
    """
    if cohort == num_clients or rounds == 0:
        return rounds
    key, visits = randomness.key(np.uint32(seed)), np.zeros(num_clients, np.int64)
    drawn = jax.jit(lambda t: sample_cohort(_derived(key, _COHORT, t), num_clients, cohort))
    for number in range(1, rounds + 1):
        visits[np.asarray(drawn(jnp.int32(number)))] += 1
    return int(visits.max())


def sample_cohort(key: jax.Array, num_clients: int, cohort: int) -> jax.Array:
    """M of C clients without replacement, in ascending order; all of them if M = C.

    Args:
      key: the key of this round's cohort.
      num_clients: C.
      cohort: M <= C.

    Returns:
      i32[M].

    Example:
      >>> import jax
      >>> sample_cohort(jax.random.key(0), 5, 5).tolist()
      [0, 1, 2, 3, 4]
    """
    if cohort == num_clients:
        return jnp.arange(num_clients)
    return jnp.sort(jax.random.choice(key, num_clients, (cohort,), replace=False))
