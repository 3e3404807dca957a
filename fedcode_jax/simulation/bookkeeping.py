"""Bookkeeping: what a round leaves behind, by who received what and what arrived."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax import network, wire
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import CohortOutput
from fedcode_jax.network import Timing
from fedcode_jax.schedules import Seen
from fedcode_jax.simulation.delivery import Post, fits_codebooks, partly, still_missed
from fedcode_jax.simulation.faults import Befallen, FaultMetrics, nobody_is_sound
from fedcode_jax.simulation.local_work import Done, Member
from fedcode_jax.simulation.opening import Opening
from fedcode_jax.simulation.restarting import restarted
from fedcode_jax.simulation.state import RoundMetrics, Settings, State, Traffic, centers_of
from fedcode_jax.wire import Kind, Message


def close(
    algorithm: Algorithm,
    state: State,
    settings: Settings,
    now: Opening,
    post: Post,
    members: Member,
    work: CohortOutput,
    server: Any,
) -> tuple[State, RoundMetrics, Traffic]:
    """Closes the books of a round.

    Args:
      algorithm: what was sent and merged.
      state: before the round.
      settings: of the run.
      now: the round.
      post: what the server sent.
      members: what each client had, [M].
      work: what they did.
      server: the server's state after the round.

    Returns:
      The state after the round, what it reports, and its messages.
    """
    done: Done = work.outputs
    deadline = jnp.asarray(settings.links.deadline)
    bits = jnp.where(now.met.away, 0, done.down_bits), done.up_bits
    fits = fits_codebooks(algorithm, done.message)
    timing = network.timing(now.met, deadline, *bits, now.samples, fits)
    down, up = _as_sent(timing, *bits)
    kinds = jnp.where(now.met.away, Kind.NOTHING, _kinds_sent(post))
    seen = Seen(
        received=done.received,
        arrived=done.arrived,
        server_weights=wire.carries_values(kinds),
        client_weights=wire.carries_values(done.kind),
        server_bits=down.astype(jnp.float32),
        client_bits=up.astype(jnp.float32),
        server_centers=centers_of(post.message),
        client_centers=centers_of(done.message),
        sketches=done.sketch,
    )
    after = State(
        now.number,
        server,
        _kept(state.store, now.clients, done.kept, done.stored),
        still_missed(algorithm, state.missed, now.clients, done.kept, post.message),
        now.schedule.remember(state.memory, now.moment, now.exchange, seen),
        _kept(state.known, now.clients, done.kept, done.known),
    )
    if now.struck is not None:
        after = restarted(algorithm, state, after, now.struck.restarted[0])
    metrics = _metrics(algorithm, state, deadline, now, post, work, timing, (down, up))
    return after, metrics, _traffic(post, members, kinds, bits, done)


def _metrics(
    algorithm: Algorithm,
    state: State,
    deadline: jax.Array,
    now: Opening,
    post: Post,
    work: CohortOutput,
    timing: Timing,
    sent: tuple[jax.Array, jax.Array],
) -> RoundMetrics:
    done: Done = work.outputs
    formula = (
        partly(post.formula_bits, timing.received_share, unit=1),
        partly(done.up_formula_bits, timing.sent_share, unit=1),
    )
    fedavg, fedavg_formula = _of_fedavg(algorithm, state, deadline, now, done.befallen)
    return RoundMetrics(
        exchange=now.exchange,
        clients=now.clients,
        train_loss=_train_loss(now, done, work.loss),
        uplink_bits=sent[1],
        downlink_bits=sent[0],
        uplink_formula_bits=formula[1],
        downlink_formula_bits=formula[0],
        fedavg_bits=fedavg,
        fedavg_formula_bits=fedavg_formula,
        num_samples=now.num_samples,
        needed_steps=work.needed_steps,
        executed_steps=work.executed_steps,
        timing=timing,
        present=~now.met.away,
        received=done.received,
        arrived=done.arrived,
        uploaded_weights=jnp.sum(done.arrived & wire.carries_values(done.kind)),
        faults=_of_faults(now, done),
    )


def _train_loss(now: Opening, done: Done, losses: jax.Array) -> jax.Array:
    """The mean over the samples of who kept what it trained; NaN if nobody's work is sound."""
    trained_on = jnp.where(done.kept, now.num_samples, 0)
    loss = jnp.sum(jnp.where(done.kept, losses, 0.0) * trained_on)
    mean = loss / jnp.maximum(jnp.sum(trained_on), 1)
    if done.befallen is None:
        return mean
    return jnp.where(nobody_is_sound(done.received, done.befallen), jnp.nan, mean)


def _of_faults(now: Opening, done: Done) -> FaultMetrics | None:
    if now.struck is None or done.befallen is None:
        return None
    found, received = done.befallen, done.received
    return FaultMetrics(
        vanished=received & found.vanished,
        late=received & found.late,
        corrupt=received & found.corrupt,
        not_finite=received & found.not_finite,
        kept=done.kept,
        restarted=now.struck.restarted[0],
    )


def _of_fedavg(
    algorithm: Algorithm,
    state: State,
    deadline: jax.Array,
    now: Opening,
    befallen: Befallen | None,
) -> tuple[jax.Array, jax.Array]:
    """What FedAvg would have sent to and from each client over the same network: bits u32[2, M].

    The second is by formula: 32 bits a value. Of a client whose work is not sound FedAvg would have
    sent nothing up either.
    """
    models, _ = jax.eval_shape(algorithm.report, state.server, state.store)
    values = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(models))
    vector: Any = jax.ShapeDtypeStruct((values,), jnp.float32)
    message = Message(jnp.int32(Kind.WEIGHTS), (wire.Dense(vector),))
    size, formula = wire.size_bits(message), wire.formula_bits(message)
    bits = jnp.where(now.met.away, 0, size)
    up = bits if befallen is None else jnp.where(befallen.sound, bits, 0)
    timing = network.timing(now.met, deadline, bits, up, now.samples)
    shares = timing.received_share, timing.sent_share
    if befallen is not None:
        shares = shares[0], jnp.where(befallen.sound, shares[1], 0.0)
    formula = jnp.where(now.met.away, 0, formula)
    return (
        jnp.stack([partly(bits, share) for share in shares]),
        jnp.stack([partly(formula, share, unit=1) for share in shares]),
    )


def _as_sent(timing: Timing, down: jax.Array, up: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bits u32[M] of both directions, as far as they were sent before the round ended."""
    return partly(down, timing.received_share), partly(up, timing.sent_share)


def _kinds_sent(post: Post) -> jax.Array:
    """Kind of what each client is sent, were it there: i32[M]."""
    kind = jnp.asarray(post.message.kind)
    if post.whole is None:
        return jnp.where(post.first, Kind.WEIGHTS, kind)
    return jnp.where(post.is_whole, jnp.asarray(post.whole.kind), kind)


def _kept(whole: Any, clients: jax.Array, received: jax.Array, rows: Any) -> Any:
    """What all C clients keep, after those that received something have changed theirs."""
    count = jax.tree.leaves(whole)[0].shape[0] if jax.tree.leaves(whole) else 0
    places = jnp.where(received, clients, count)
    return jax.tree.map(lambda all, row: all.at[places].set(row, mode="drop"), whole, rows)


def _traffic(
    post: Post,
    members: Member,
    kinds: jax.Array,
    bits: tuple[jax.Array, jax.Array],
    done: Done,
) -> Traffic:
    whole = post.whole
    if whole is not None:
        kind = jnp.where(post.is_whole, kinds, Kind.NOTHING)
        whole = dataclasses.replace(whole, kind=kind)
        kinds = jnp.where(post.is_whole, Kind.NOTHING, kinds)
    return Traffic(
        broadcast=dataclasses.replace(post.message, kind=kinds),
        broadcast_given=members.known,
        broadcast_kind=jnp.asarray(post.message.kind),
        whole=whole,
        broadcast_bits=bits[0],
        uploads=done.message if done.upload is None else done.upload,
        uploads_given=done.upload_given,
        upload_bits=bits[1],
        works=done.work,
    )
