"""Local work: what one client of a round does between what comes down and what goes up."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import network, schedules, wire
from fedcode_jax.algorithms import Algorithm, Start, Work
from fedcode_jax.clients import ClientData, CohortOutput, LocalTraining, Plan, run_cohort
from fedcode_jax.clients.training import Weights
from fedcode_jax.network import Conditions
from fedcode_jax.simulation import faults
from fedcode_jax.simulation.delivery import Post, fits_codebooks
from fedcode_jax.simulation.opening import Opening
from fedcode_jax.wire import Message


class Member(NamedTuple):
    """What is each client's own, with a leading axis of M.

    Attributes:
      stored: what it keeps.
      known: the reference that messages between it and the server are coded given, or None.
      asked: bool[], whether it is asked for weights.
      met: what it meets with on the network.
      samples: i32[], that it trains on, epochs counted.
      first: bool[], whether it has received nothing yet.
      down_bits: u32[], of what it is sent, unless messages are coded given what it holds.
      struck: the faults that strike it, or None.
    """

    stored: Any
    known: Message | None
    asked: jax.Array
    met: Conditions
    samples: jax.Array
    first: jax.Array
    down_bits: jax.Array
    struck: faults.Struck | None = None


class Done(NamedTuple):
    """What comes of each client; of one that is away it may be zeros.

    Attributes:
      received: bool[], it has what it was sent, and so has trained.
      arrived: bool[], its upload reached the server.
      message: of its upload what arrived, as the server reads it.
      sketch: f32[S], of its weights, which went with the upload, or None.
      kind: i32[], of its upload, whether it arrived or not.
      stored: what it keeps, if it received what it was sent.
      known: the reference after the round likewise, or None.
      down_bits: u32[], of what it was sent, were it to come whole.
      up_bits: u32[], of its upload, likewise.
      up_formula_bits: u32[], the published count of the same.
      upload: the upload, whether it arrived or not, where traffic is kept.
      upload_given: the reference that it was coded given, likewise.
      befallen: what came of faults; None in a run without them.
      work: what it did, where works are kept.
    """

    received: jax.Array
    arrived: jax.Array
    message: Message
    sketch: jax.Array | None
    kind: jax.Array
    stored: Any
    known: Message | None
    down_bits: jax.Array
    up_bits: jax.Array
    up_formula_bits: jax.Array
    upload: Message | None = None
    upload_given: Message | None = None
    befallen: faults.Befallen | None = None
    work: Work | None = None

    @property
    def kept(self) -> jax.Array:
        """bool[], it keeps what it made of the round; one that is not sound takes it back."""
        return self.received if self.befallen is None else self.received & self.befallen.sound


@dataclasses.dataclass(frozen=True)
class LocalWork:
    """A client's part of a round, to be run for all of them.

    Attributes:
      algorithm: what is received and uploaded.
      training: what a client does.
      plan: how the clients run.
      max_size: the largest number of samples of any client.
      sketched: whether uploads carry a sketch of the weights.
      traffic: whether uploads are given as they were sent.
      works: whether what clients did is given.
    """

    algorithm: Algorithm
    training: LocalTraining
    plan: Plan
    max_size: int
    sketched: bool = False
    traffic: bool = False
    works: bool = False

    def run(
        self, now: Opening, deadline: Any, post: Post, members: Member, data: ClientData
    ) -> CohortOutput:
        """Runs the clients of a round.

        Args:
          now: the round.
          deadline: f32[], seconds.
          post: what the server sends.
          members: with a leading axis of M.
          data: the resident data.

        Returns:
          The work; its outputs are ``Done``.
        """
        return run_cohort(
            self.training,
            self.plan,
            data,
            now.clients,
            (jnp.asarray(deadline), post.message, post.common),
            members,
            now.keys,
            self._begin,
            self._finish,
            max_size=self.max_size,
            objective=self.algorithm.objective,
            present=~now.met.away,
            fixed=self.training.norm_is_fixed(now.number),
            learning_rate=now.learning_rate,
        )

    def _begin(self, shared: tuple, own: Member) -> tuple[Start, jax.Array]:
        """What a client starts from, and whether it received it."""
        deadline, message, common = shared
        down = self._addressed(message, own)
        received = network.received(own.met, deadline, self._down_bits(down, own))
        return self.algorithm.receive(own.stored, down, common), received

    def _finish(self, shared: tuple, own: Member, work: Work, key: jax.Array) -> Done:
        """What a client uploads and keeps, and what of it arrives."""
        deadline, message, _ = shared
        down = self._addressed(message, own)
        exchange = schedules.Exchange(wire.carries_values(message.kind), own.asked)
        if own.struck is not None:
            work = faults.tampered(work, own.struck)
        upload, stored = self.algorithm.upload(own.stored, work, exchange, key)
        sketch = _sketch(work.trained) if self.sketched else None
        sent = upload if sketch is None else _with(upload, sketch)
        # Both sides remember what comes down before the client answers.
        given = None if own.known is None else wire.remember(own.known, down)
        down_bits = self._down_bits(down, own)
        received = network.received(own.met, deadline, down_bits)
        sent = _if_received(sent, received)
        up_bits = wire.size_bits(sent, given=given)
        fits = fits_codebooks(self.algorithm, upload)
        arrived = network.arrives(own.met, deadline, down_bits, up_bits, own.samples, fits)
        formula_bits, befallen = wire.formula_bits(sent), None
        if own.struck is not None:
            sound = faults.is_finite((work.trained, sent))
            befallen, arrived = faults.befallen(own.struck, sound, sent.kind, arrived)
            up_bits = faults.sent_bits(befallen, up_bits)
            formula_bits = faults.sent_bits(befallen, formula_bits)
        message, stored = self._read(_if_received(upload, received), upload, stored, arrived)
        known = None
        if given is not None:  # what did not arrive is remembered by neither side
            known = _where(arrived, wire.remember(given, upload), given)
        return Done(
            received=received,
            arrived=arrived,
            message=message,
            sketch=sketch,
            kind=jnp.asarray(sent.kind),
            stored=stored,
            known=known,
            down_bits=down_bits,
            up_bits=up_bits,
            up_formula_bits=formula_bits,
            upload=sent if self.traffic else None,
            upload_given=given if self.traffic else None,
            befallen=befallen,
            work=work if self.works else None,
        )

    def _read(
        self, sent: Message, upload: Message, stored: Any, arrived: jax.Array
    ) -> tuple[Message, Any]:
        """An upload as the server reads it, and what its client keeps by whether it arrived."""
        if self.algorithm.lost is not None:
            heard = arrived & (jnp.asarray(sent.kind) != wire.Kind.NOTHING)
            stored = _where(heard, stored, self.algorithm.lost(stored, upload))
        message = wire.only_carried(sent, arrived)
        if self.algorithm.heard is not None:
            heard = message.kind != wire.Kind.NOTHING
            agreed = self.algorithm.heard(stored, message)
            message, stored = _where(heard, agreed, (message, stored))
        return message, stored

    def _addressed(self, message: Message, own: Member) -> Message:
        """The broadcast as this client gets it.

        One that is sent ``whole`` ends up with the same weights, by the law of ``common``.
        """
        return wire.addressed(message, own.first) if self.algorithm.common is None else message

    def _down_bits(self, down: Message, own: Member) -> jax.Array:
        if own.known is None:
            return own.down_bits
        return jnp.where(own.met.away, 0, wire.size_bits(down, given=own.known))


def _if_received(message: Message, received: jax.Array) -> Message:
    """The upload of a client that received something; else nothing."""
    kind = jnp.where(received, message.kind, jnp.int32(wire.Kind.NOTHING))
    return dataclasses.replace(message, kind=kind)


def _sketch(weights: Weights) -> jax.Array:
    return schedules.sketch(
        jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(weights)])
    )


def _with(upload: Message, sketch: jax.Array) -> Message:
    """The upload with a sketch of the trained weights, which goes with codebooks too."""
    note = wire.Dense(sketch, always=True)
    return dataclasses.replace(upload, sections=(*upload.sections, note))


def _where(chosen: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), new, old)
