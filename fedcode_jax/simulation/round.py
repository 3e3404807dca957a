"""One round as a pure function of the state."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import wire
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, LocalTraining, Plan, dealt, run_cohort
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.training import Weights
from fedcode_jax.schedules import Exchange, Schedule


class State(NamedTuple):
    """All that changes from round to round.

    Attributes:
      round: i32[], rounds done.
      server: the algorithm's server state.
      store: what the clients keep, with a leading axis of C.
      contacted: bool[C], the clients that have taken part and so hold weights.
      known: where messages are coded given earlier ones, the last weights message that the
        server and each client exchanged, in either direction (of kind NOTHING before the
        first), with a leading axis of C; else None.
    """

    round: jax.Array
    server: Any
    store: Any
    contacted: jax.Array
    known: wire.Message | None = None


class RoundMetrics(NamedTuple):
    """What one round reports; M clients take part, in the order in which they were run.

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


class Traffic(NamedTuple):
    """The messages of one round, for those who want to look at them; M clients take part.

    Attributes:
      broadcast: the server's message, without a client axis; its kind i32[M] is that which
        each client was sent.
      broadcast_given: what each client held before it, as ``State.known``.
      uploads: the clients' messages, with a leading axis of M.
      uploads_given: what the server held of each client before it.
    """

    broadcast: wire.Message
    broadcast_given: wire.Message | None
    uploads: wire.Message
    uploads_given: wire.Message | None


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
    silent = Exchange(jnp.zeros((), bool), jnp.zeros((), bool))
    message, _ = jax.eval_shape(algorithm.broadcast, server, silent, jax.random.key(0))
    known = None
    if wire.is_conditional(message):
        shapes = jax.eval_shape(wire.reference, message)
        known = jax.tree.map(lambda x: jnp.zeros((num_clients, *x.shape), x.dtype), shapes)
    return State(jnp.int32(0), server, store, jnp.zeros(num_clients, bool), known)


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
) -> Callable[[State, ClientData, jax.Array], tuple[State, RoundMetrics, Traffic]]:
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
      (state, data, key of the experiment) -> (state, metrics, traffic): pure, to be jitted,
      scanned and vmapped. What is not used of the traffic costs nothing under jit.
    """
    schedule = algorithm.schedule or schedule

    def run_round(
        state: State, data: ClientData, key: jax.Array
    ) -> tuple[State, RoundMetrics, Traffic]:
        number = state.round + 1
        exchange = schedule(number)

        def key_for(purpose: int) -> jax.Array:
            return jax.random.fold_in(jax.random.fold_in(key, purpose), number)

        clients = sample_cohort(key_for(_COHORT), data.sizes.shape[0], cohort)
        steps = num_steps(data.sizes[clients], training.epochs, training.batch_size)
        clients = clients[dealt(plan, steps)]
        client_keys = jax.vmap(jax.random.fold_in, (None, 0))(key_for(_CLIENTS), clients)
        stored = jax.tree.map(lambda leaf: leaf[clients], state.store)
        first_contact = ~state.contacted[clients]
        num_samples = data.sizes[clients]

        broadcast, server = algorithm.broadcast(state.server, exchange, key_for(_SERVER))

        known = jax.tree.map(lambda leaf: leaf[clients], state.known)
        conditional = state.known is not None

        def begin(shared: tuple, row: tuple) -> Weights:
            (broadcast, _), (stored, first, _) = shared, row
            return algorithm.receive(stored, wire.addressed(broadcast, first))

        def finish(
            shared: tuple, row: tuple, trained: Weights, start: Weights, key: jax.Array
        ) -> tuple:
            (broadcast, exchange), (stored, first, known) = shared, row
            upload, stored = algorithm.upload(stored, trained, start, exchange, key)
            if not conditional:
                return upload, stored, wire.size_bits(upload), None, None, None
            # Both sides remember what comes down before the client answers.
            down = wire.addressed(broadcast, first)
            met = wire.remember(known, down)
            sizes = wire.size_bits(upload, given=met), wire.size_bits(down, given=known)
            return upload, stored, *sizes, met, wire.remember(met, upload)

        done = run_cohort(
            training,
            plan,
            data,
            clients,
            (broadcast, exchange),
            (stored, first_contact, known),
            client_keys,
            begin,
            finish,
            max_size=max_size,
            fixed=training.norm_is_fixed(number),
        )
        uploads, stored, uplink_bits, downlink_bits, met, known_after = done.outputs
        server = algorithm.aggregate(server, uploads, num_samples.astype(jnp.float32), exchange)

        def to_client(measure: Callable[[wire.Message], jax.Array]) -> jax.Array:
            return jax.vmap(lambda first: measure(wire.addressed(broadcast, first)))(first_contact)

        metrics = RoundMetrics(
            exchange=exchange,
            train_loss=jnp.sum(done.loss * num_samples) / jnp.sum(num_samples),
            uplink_bits=uplink_bits,
            downlink_bits=downlink_bits if conditional else to_client(wire.size_bits),
            uplink_formula_bits=jax.vmap(wire.formula_bits)(uploads),
            downlink_formula_bits=to_client(wire.formula_bits),
            num_samples=num_samples,
            needed_steps=done.needed_steps,
            executed_steps=done.executed_steps,
        )
        sent_kinds = to_client(lambda message: jnp.asarray(message.kind))
        sent = dataclasses.replace(broadcast, kind=sent_kinds)
        traffic = Traffic(sent, known, uploads, met)

        def stored_back(old: Any, new: Any) -> Any:
            return jax.tree.map(lambda whole, part: whole.at[clients].set(part), old, new)

        after = State(
            number,
            server,
            stored_back(state.store, stored),
            state.contacted.at[clients].set(True),
            stored_back(state.known, known_after),
        )
        return after, metrics, traffic

    return run_round
