"""What a round starts from, and what it reports."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import randomness, wire
from fedcode_jax.algorithms import Algorithm, Work
from fedcode_jax.clients.training import Weights
from fedcode_jax.errors import ConfigError
from fedcode_jax.network import Links, Timing
from fedcode_jax.schedules import SKETCH_SIZE, Costs, Exchange, Memory, Schedule, forgotten
from fedcode_jax.simulation.faults import FaultMetrics, Faults
from fedcode_jax.wire import Coded, Kind, Message
from fedcode_jax.wire.sizes import header_bytes

NEVER = np.uint32(2**32 - 1)
"""Bits missed by a client that has received nothing yet, or missed more than can be counted."""


class Settings(NamedTuple):
    """What may differ between experiments that share a program: traced, of the same shapes.

    Attributes:
      seed: u32[], of everything random in the run.
      schedule: round -> exchange, for algorithms that bring none.
      learning_rate: f32[], of the first round.
      rounds: i32[], of the whole run, over which the learning rate may fall.
      links: of the clients, to the server.
      faults: what may go wrong; None: nothing is drawn, and nothing looked for.
    """

    seed: Any
    schedule: Schedule
    learning_rate: Any
    rounds: Any
    links: Links
    faults: Faults | None = None


class State(NamedTuple):
    """All that changes from round to round.

    Attributes:
      round: i32[], rounds done.
      server: the algorithm's server state.
      store: what the clients keep, with a leading axis of C.
      missed: u32[C], bits of the broadcasts that a client has missed since it last received one,
        where they are changes of what went before; ``NEVER`` for one that has received none.
      memory: what the schedule remembers.
      known: where messages are coded given earlier ones, the last weights message that the
        server and each client exchanged, in either direction (of kind NOTHING before the
        first), with a leading axis of C; else None.
    """

    round: jax.Array
    server: Any
    store: Any
    missed: jax.Array
    memory: Memory
    known: Message | None = None

    @property
    def contacted(self) -> jax.Array:
        """bool[C], the clients that have received something, and so hold weights."""
        return self.missed != NEVER


class RoundMetrics(NamedTuple):
    """What one round reports; M clients are in it, in the order in which they were run.

    Attributes:
      exchange: what was to be sent each way.
      clients: i32[M], which clients they are.
      train_loss: f32[], mean cross-entropy over the samples that were trained on.
      uplink_bits: u32[M], of each client's upload, as much as was sent.
      downlink_bits: u32[M], of what the server sent each client, as much as was sent.
      uplink_formula_bits: u32[M], the published count of the same.
      downlink_formula_bits: u32[M].
      fedavg_bits: u32[2, M], what FedAvg would have sent to and from each client over the same
        network.
      fedavg_formula_bits: u32[2, M], the same by formula, 32 bits a value.
      num_samples: i32[M], N_i of the clients.
      needed_steps: i32[], local steps of the clients.
      executed_steps: i32[], local steps computed, padding included.
      timing: simulated seconds.
      present: bool[M], clients that were not away.
      received: bool[M], of these, those that received what they were sent, and trained.
      arrived: bool[M], of these, those whose upload reached the server.
      uploaded_weights: i32[], uploads with weights that arrived.
      faults: what came of faults; None in a run without them.
    """

    exchange: Exchange
    clients: jax.Array
    train_loss: jax.Array
    uplink_bits: jax.Array
    downlink_bits: jax.Array
    uplink_formula_bits: jax.Array
    downlink_formula_bits: jax.Array
    fedavg_bits: jax.Array
    fedavg_formula_bits: jax.Array
    num_samples: jax.Array
    needed_steps: jax.Array
    executed_steps: jax.Array
    timing: Timing
    present: jax.Array
    received: jax.Array
    arrived: jax.Array
    uploaded_weights: jax.Array
    faults: FaultMetrics | None = None


class Traffic(NamedTuple):
    """The messages of one round, for those who want to look at them; M clients are in it.

    Attributes:
      broadcast: the server's message, without a client axis; its kind i32[M] is that which
        each client was sent, NOTHING where it was sent ``whole``.
      broadcast_given: what each client held before it, as ``State.known``.
      broadcast_kind: i32[], as the server made it.
      whole: the message that brings any client up to date, or None; its kind i32[M] is NOTHING
        where another one was sent.
      broadcast_bits: u32[M], the size of what each client was sent when it comes whole, the
        broadcasts that it had missed included.
      uploads: the clients' messages, with a leading axis of M, whether they arrived or not.
      uploads_given: what the server held of each client before it.
      upload_bits: u32[M], the size of each upload when it is sent whole.
      works: what each client did, with a leading axis of M, where that is asked for.
    """

    broadcast: Message
    broadcast_given: Message | None
    broadcast_kind: jax.Array
    whole: Message | None
    broadcast_bits: jax.Array
    uploads: Message
    uploads_given: Message | None
    upload_bits: jax.Array
    works: Work | None = None


@randomness.standardised
def initial_state(
    algorithm: Algorithm, weights: Weights, num_clients: int, *, sketched: bool = False
) -> State:
    """The state before the first round.

    Args:
      algorithm: the algorithm.
      weights: the initial variables of the model.
      num_clients: C.
      sketched: whether uploads carry a sketch of the weights.

    Returns:
      The state, in which no client has received anything.

    Raises:
      ConfigError: an algorithm whose parts do not go together.
    """
    server, store = algorithm.init(weights, num_clients)
    silent = Exchange(jnp.zeros((), bool), jnp.zeros((), bool))
    message, _ = algorithm.broadcast(server, silent, randomness.key(0))
    known = None
    if algorithm.common is not None and wire.is_conditional(message):
        raise ConfigError(
            "algorithm: a broadcast of changes goes to all alike, and cannot be coded given what "
            "each client holds; use the coding adaptive"
        )
    if wire.is_conditional(message):
        shapes = jax.eval_shape(wire.reference, message)
        known = jax.tree.map(lambda x: jnp.zeros((num_clients, *x.shape), x.dtype), shapes)
    sizes = [
        _fixed_width(message, kind) for kind in (jnp.int32(Kind.WEIGHTS), jnp.asarray(message.kind))
    ]
    note = wire.Dense(jnp.zeros(SKETCH_SIZE), always=True)
    extra = 8 * (header_bytes(note, Kind.CODEBOOK) + note.values.nbytes) if sketched else 0
    uploads = _upload_sizes(algorithm, server, store, message, sizes)
    costs = Costs(*sizes, *(size + extra * (size > 0) for size in uploads))
    memory = forgotten(centers_of(message).shape[-1], costs)
    missed = jnp.full(num_clients, NEVER, jnp.uint32)
    return State(jnp.int32(0), server, store, missed, memory, known)


def _upload_sizes(
    algorithm: Algorithm, server: Any, store: Any, message: Message, sizes: list[jax.Array]
) -> list[jax.Array]:
    """Bits f32[] of an upload with weights and of another, as far as shapes tell.

    An upload of the form of the broadcast takes as much; another one as much as it is published
    to, and nothing where no weights are asked for.
    """

    def upload(server: Any, store: Any) -> Message:
        common = None if algorithm.common is None else algorithm.common(server)
        stored = jax.tree.map(lambda leaf: leaf[0], store)
        start = algorithm.receive(stored, message, common)
        work = Work(start, start.weights, jnp.int32(1), jnp.float32(0), jnp.float32(0))
        exchange = Exchange(jnp.ones((), bool), jnp.ones((), bool))
        return algorithm.upload(stored, work, exchange, randomness.key(0))[0]

    shapes, own = jax.eval_shape(upload, server, store), jax.eval_shape(lambda: message)
    (leaves, structure), (others, other_structure) = map(jax.tree.flatten, (shapes, own))
    if str(structure) == str(other_structure) and leaves == others:
        return sizes
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    bits = wire.formula_bits(Message(jnp.int32(Kind.WEIGHTS), zeros.sections))
    return [bits.astype(jnp.float32), jnp.float32(0)]


def _fixed_width(message: Message, kind: jax.Array) -> jax.Array:
    """Bits of the message if it is of this kind and its codes are of fixed width."""
    sections = tuple(
        dataclasses.replace(section, coding="fixed") if isinstance(section, Coded) else section
        for section in message.sections
    )
    return wire.size_bits(Message(kind, sections)).astype(jnp.float32)


def centers_of(message: Message) -> jax.Array:
    """All centers of a message f32[..., G], as schedules look at them."""
    sections = [section for section in message.sections if isinstance(section, Coded)]
    lead = jnp.shape(message.kind)
    parts = [jnp.asarray(section.centers).reshape(*lead, -1) for section in sections]
    return jnp.concatenate(parts, axis=-1) if parts else jnp.zeros((*lead, 0))
