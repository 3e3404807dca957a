"""One round as a pure function of the state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax import network, schedules, wire
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, LocalTraining, Plan, dealt, run_cohort
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.optimizers import decayed
from fedcode_jax.clients.training import Weights
from fedcode_jax.schedules import Moment, Seen
from fedcode_jax.simulation.state import (
    RoundMetrics,
    Settings,
    State,
    Traffic,
    centers_of,
)
from fedcode_jax.wire import Coded, Kind, Message

_COHORT, _SERVER, _CLIENTS, _NETWORK = range(4)

Round = Callable[[State, ClientData, Settings], tuple[State, RoundMetrics, Traffic]]


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
    training: LocalTraining,
    plan: Plan,
    *,
    cohort: int,
    max_size: int,
    sketched: bool = False,
) -> Round:
    """The function that runs one round.

    Args:
      algorithm: what is sent and how it is merged; its own schedule, if it brings one,
        comes before that of the settings.
      training: what a client does.
      plan: how the clients run.
      cohort: M, clients in a round.
      max_size: the largest number of samples of any client.
      sketched: whether uploads carry a sketch of the weights, for schedules that ask for it.

    Returns:
      (state, data, settings) -> (state, metrics, traffic): pure, to be jitted, scanned and
      vmapped. What is not used of the traffic costs nothing under jit.
    """

    def run_round(
        state: State, data: ClientData, settings: Settings
    ) -> tuple[State, RoundMetrics, Traffic]:
        number = state.round + 1
        key = jax.random.key(settings.seed)
        rate = decayed(training.decay, settings.learning_rate, number, settings.rounds)
        schedule = settings.schedule if algorithm.schedule is None else algorithm.schedule
        moment = Moment(number, rate, cohort, data.sizes.shape[0])
        exchange = schedule.decide(state.memory, moment)

        def key_for(purpose: int) -> jax.Array:
            return jax.random.fold_in(jax.random.fold_in(key, purpose), number)

        clients = sample_cohort(key_for(_COHORT), data.sizes.shape[0], cohort)
        steps = num_steps(data.sizes[clients], training.epochs, training.batch_size)
        clients = clients[dealt(plan, steps)]
        client_keys = jax.vmap(jax.random.fold_in, (None, 0))(key_for(_CLIENTS), clients)
        stored = jax.tree.map(lambda leaf: leaf[clients], state.store)
        known = jax.tree.map(lambda leaf: leaf[clients], state.known)
        conditional = state.known is not None
        first_contact = ~state.contacted[clients]
        num_samples = data.sizes[clients]
        samples = num_samples * training.epochs
        met = network.conditions(settings.links, clients, key_for(_NETWORK))
        present, deadline = ~met.away, settings.links.deadline

        broadcast, server = algorithm.broadcast(state.server, exchange, key_for(_SERVER))
        fits = any(isinstance(section, Coded) for section in broadcast.sections)

        def to_client(measure: Callable[[Message], jax.Array]) -> jax.Array:
            sizes = jax.vmap(lambda first: measure(wire.addressed(broadcast, first)))(first_contact)
            return jnp.where(present, sizes, 0)

        # A client that cannot hope to deliver weights in time is asked for its codebook.
        down, up = state.memory.costs.server_weights, state.memory.costs.clients_weights
        down = jnp.where(_is_weights(broadcast) | first_contact, down, 0.0)
        usual = (down, jnp.full(cohort, up))
        in_time = network.deliverable(met, deadline, *usual, samples, fits)
        asked = exchange.clients_send_weights & (in_time | ~jnp.asarray(schedule.settings.in_time))

        def begin(shared: Message, row: tuple) -> Weights:
            stored, first, _, _ = row
            return algorithm.receive(stored, wire.addressed(shared, first))

        def finish(
            shared: Message, row: tuple, trained: Weights, start: Weights, key: jax.Array
        ) -> tuple:
            stored, first, known, asked = row
            own = _exchange_of(shared, asked)
            upload, stored = algorithm.upload(stored, trained, start, own, key)
            sent = _with_sketch(upload, trained) if sketched else upload
            if not conditional:
                return sent, stored, wire.size_bits(sent), None, None, None
            # Both sides remember what comes down before the client answers.
            down = wire.addressed(shared, first)
            both = wire.remember(known, down)
            sizes = wire.size_bits(sent, given=both), wire.size_bits(down, given=known)
            return sent, stored, *sizes, both, wire.remember(both, upload)

        done = run_cohort(
            training,
            plan,
            data,
            clients,
            broadcast,
            (stored, first_contact, known, asked),
            client_keys,
            begin,
            finish,
            max_size=max_size,
            fixed=training.norm_is_fixed(number),
            learning_rate=rate,
        )
        uploads, stored_after, upload_bits, downlink_bits, both, known_after = done.outputs
        upload_bits = jnp.where(present, upload_bits, 0)
        downlink_bits = (
            jnp.where(present, downlink_bits, 0) if conditional else to_client(wire.size_bits)
        )
        timing = network.timing(met, deadline, downlink_bits, upload_bits, samples, fits)
        uplink_bits = _share(upload_bits, timing.sent_share)
        kinds = jnp.where(timing.arrived, uploads.kind, Kind.NOTHING)
        arrived = Message(kinds, uploads.sections[: len(broadcast.sections)])
        server = algorithm.aggregate(server, arrived, num_samples.astype(jnp.float32), exchange)

        sent_kinds = to_client(lambda message: jnp.asarray(message.kind))
        uploads = dataclasses.replace(uploads, kind=jnp.where(present, uploads.kind, Kind.NOTHING))
        seen = Seen(
            present=present,
            arrived=timing.arrived,
            server_weights=sent_kinds == Kind.WEIGHTS,
            client_weights=_is_weights(uploads),
            server_bits=downlink_bits.astype(jnp.float32),
            client_bits=uplink_bits.astype(jnp.float32),
            server_centers=centers_of(broadcast),
            client_centers=centers_of(arrived),
            sketches=jnp.asarray(uploads.sections[-1].values) if sketched else None,
        )
        trained_on = jnp.where(present, num_samples, 0)
        metrics = RoundMetrics(
            exchange=exchange,
            train_loss=jnp.sum(jnp.where(present, done.loss, 0.0) * trained_on)
            / jnp.maximum(jnp.sum(trained_on), 1),
            uplink_bits=uplink_bits,
            downlink_bits=downlink_bits,
            uplink_formula_bits=jax.vmap(wire.formula_bits)(uploads),
            downlink_formula_bits=to_client(wire.formula_bits),
            num_samples=num_samples,
            needed_steps=done.needed_steps,
            executed_steps=done.executed_steps,
            timing=timing,
            present=present,
            uploaded_weights=jnp.sum(_is_weights(arrived)),
        )
        traffic = Traffic(
            dataclasses.replace(broadcast, kind=sent_kinds), known, uploads, both, upload_bits
        )
        # What did not arrive is not remembered by the server, and so not by the client.
        known_after = _where(timing.arrived, known_after, both)

        def stored_back(whole: Any, before: Any, after: Any) -> Any:
            kept = _where(present, after, before)
            return jax.tree.map(lambda all, part: all.at[clients].set(part), whole, kept)

        after = State(
            number,
            server,
            stored_back(state.store, stored, stored_after),
            state.contacted.at[clients].max(present),
            schedule.remember(state.memory, moment, exchange, seen),
            stored_back(state.known, known, known_after),
        )
        return after, metrics, traffic

    return run_round


def _exchange_of(broadcast: Message, asked: jax.Array) -> schedules.Exchange:
    """The exchange as one client knows it: what it was sent, and what it is asked for."""
    return schedules.Exchange(_is_weights(broadcast), asked)


def _is_weights(message: Message) -> jax.Array:
    return jnp.asarray(message.kind) == Kind.WEIGHTS


def _with_sketch(upload: Message, weights: Weights) -> Message:
    """The upload with a sketch of the trained weights, which goes with codebooks too."""
    vector = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(weights)])
    note = wire.Dense(schedules.sketch(vector), always=True)
    return dataclasses.replace(upload, sections=(*upload.sections, note))


def _share(bits: jax.Array, share: jax.Array) -> jax.Array:
    """A share of bits in whole bytes, all of them exactly where the share is 1."""
    part = jnp.floor(bits.astype(jnp.float32) * share / 8).astype(jnp.uint32) * 8
    return jnp.where(share >= 1, bits, jnp.minimum(part, bits))


def _where(chosen: jax.Array, new: Any, old: Any) -> Any:
    """Chooses per client, over the leading axis of every leaf."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(chosen.reshape(chosen.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)
