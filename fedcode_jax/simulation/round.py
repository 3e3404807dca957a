"""One round as a pure function of the state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import wire
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, LocalTraining, Plan, run_cohort
from fedcode_jax.clients.training import Weights
from fedcode_jax.schedules import Exchange, Schedule


class State(NamedTuple):
    """All that changes from round to round.

    Attributes:
      round: i32[], rounds done.
      server: the algorithm's server state.
      store: what the clients keep, with a leading axis of C.
      contacted: bool[C], the clients that have taken part and so hold weights.
    """

    round: jax.Array
    server: Any
    store: Any
    contacted: jax.Array


class RoundMetrics(NamedTuple):
    """What one round reports; M clients take part.

    Attributes:
      exchange: what was sent each way.
      train_loss: f32[], mean cross-entropy over the samples that were trained on.
      uplink_bits: u32[M], size of each client's upload, as encoded.
      downlink_bits: u32[M], size of what the server sent each client.
      uplink_formula_bits: u32[M], the published count of the same.
      downlink_formula_bits: u32[M].
      num_samples: i32[M], N_i of the clients.
      needed_steps: i32[], local steps of the clients.
      executed_steps: i32[], local steps computed, padding included.
    """

    exchange: Exchange
    train_loss: jax.Array
    uplink_bits: jax.Array
    downlink_bits: jax.Array
    uplink_formula_bits: jax.Array
    downlink_formula_bits: jax.Array
    num_samples: jax.Array
    needed_steps: jax.Array
    executed_steps: jax.Array


_COHORT, _SERVER, _CLIENTS = range(3)


def initial_state(algorithm: Algorithm, weights: Weights, num_clients: int) -> State:
    """The state before the first round.

    Args:
      algorithm: the algorithm.
      weights: the initial variables of the model.
      num_clients: C.

    Returns:
      The state, in which no client has been contacted.
    """
    server, store = algorithm.init(weights, num_clients)
    return State(jnp.int32(0), server, store, jnp.zeros(num_clients, bool))


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


def make_round(
    algorithm: Algorithm,
    schedule: Schedule,
    training: LocalTraining,
    plan: Plan,
    *,
    cohort: int,
    max_size: int,
) -> Callable[[State, ClientData, jax.Array], tuple[State, RoundMetrics]]:
    """The function that runs one round.

    Args:
      algorithm: what is sent and how it is merged; its own schedule, if it brings one,
        comes before ``schedule``.
      schedule: round -> exchange.
      training: what a client does.
      plan: how the clients run.
      cohort: M, clients in a round.
      max_size: the largest number of samples of any client.

    Returns:
      (state, data, key of the experiment) -> (state, metrics): pure, to be jitted, scanned
      and vmapped.
    """
    schedule = algorithm.schedule or schedule

    def run_round(state: State, data: ClientData, key: jax.Array) -> tuple[State, RoundMetrics]:
        number = state.round + 1
        exchange = schedule(number)

        def key_for(purpose: int) -> jax.Array:
            return jax.random.fold_in(jax.random.fold_in(key, purpose), number)

        clients = sample_cohort(key_for(_COHORT), data.sizes.shape[0], cohort)
        client_keys = jax.vmap(jax.random.fold_in, (None, 0))(key_for(_CLIENTS), clients)
        stored = jax.tree.map(lambda leaf: leaf[clients], state.store)
        first_contact = ~state.contacted[clients]
        num_samples = data.sizes[clients]

        broadcast, server = algorithm.broadcast(state.server, exchange, key_for(_SERVER))

        def begin(row: tuple) -> Weights:
            stored, first = row
            return algorithm.receive(stored, wire.addressed(broadcast, first))

        def finish(row: tuple, trained: Weights, start: Weights, key: jax.Array) -> tuple:
            return algorithm.upload(row[0], trained, start, exchange, key)

        done = run_cohort(
            training,
            plan,
            data,
            clients,
            (stored, first_contact),
            client_keys,
            begin,
            finish,
            max_size=max_size,
        )
        uploads, stored = done.outputs
        server = algorithm.aggregate(server, uploads, num_samples.astype(jnp.float32), exchange)

        def to_client(measure: Callable[[wire.Message], jax.Array]) -> jax.Array:
            return jax.vmap(lambda first: measure(wire.addressed(broadcast, first)))(first_contact)

        metrics = RoundMetrics(
            exchange=exchange,
            train_loss=jnp.sum(done.loss * num_samples) / jnp.sum(num_samples),
            uplink_bits=jax.vmap(wire.size_bits)(uploads),
            downlink_bits=to_client(wire.size_bits),
            uplink_formula_bits=jax.vmap(wire.formula_bits)(uploads),
            downlink_formula_bits=to_client(wire.formula_bits),
            num_samples=num_samples,
            needed_steps=done.needed_steps,
            executed_steps=done.executed_steps,
        )
        store = jax.tree.map(lambda old, new: old.at[clients].set(new), state.store, stored)
        contacted = state.contacted.at[clients].set(True)
        return State(number, server, store, contacted), metrics

    return run_round
