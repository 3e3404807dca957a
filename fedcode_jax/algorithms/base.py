"""What an algorithm is: the verbs of a round, as pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.aggregation import weighted_mean
from fedcode_jax.algorithms.layout import Weights
from fedcode_jax.algorithms.portable import Portable
from fedcode_jax.schedules import Exchange, Schedule
from fedcode_jax.wire import Message

ServerState = Any
Stored = Any
Carried = Any

_AT_ONCE = 1024  # clients whose values are decoded at once


class Start(NamedTuple):
    """What a client begins its round with.

    Attributes:
      weights: that local training starts from; see ``Objective`` for their params.
      carried: what the objective and the upload are given beside them: an anchor, a control
        variate; None for nothing.
    """

    weights: Weights
    carried: Carried = None


class Work(NamedTuple):
    """What a client has done by the time it uploads.

    Attributes:
      start: what it began with.
      trained: its weights after local training.
      steps: i32[], local steps made.
      learning_rate: f32[], of this round.
      loss: f32[], mean training loss over all samples of all epochs.
    """

    start: Start
    trained: Weights
    steps: jax.Array
    learning_rate: jax.Array
    loss: jax.Array


class At(NamedTuple):
    """Where local training is.

    Attributes:
      step: i32[], counted from 0.
      steps: i32[], that the client makes in this round.
    """

    step: jax.Array
    steps: jax.Array


class Objective(NamedTuple):
    """How an algorithm shapes local training; what is None leaves it as it is.

    All are pure functions of one client; params are the trained collection of ``Start.weights``:
    that of the model, unless a view makes that of it, and then of any structure.

    Attributes:
      penalty: (params, carried) -> f32[], added to the loss of every step.
      gradient: (grads, params, carried, at) -> grads, as the optimiser is given them.
      view: (params, carried, at, key) -> the params that the model is applied with, the gradient
        being taken through it; the key is another one in every step.
      project: (params, carried, at) -> params, what is made of them after every step.
    """

    penalty: Callable[[Weights, Carried], jax.Array] | None = None
    gradient: Callable[[Weights, Weights, Carried, At], Weights] | None = None
    view: Callable[[Weights, Carried, At, jax.Array], Weights] | None = None
    project: Callable[[Weights, Carried, At], Weights] | None = None


class Algorithm(NamedTuple):
    """A federated algorithm: pure functions, as an optax transformation is a pair of them.

        server --broadcast--> client --receive--> [local training] --upload--> server
               --aggregate--> next round

    Functions of a client are for one client, and vmapped over the M clients of a round. Those
    that are None are not used, and cost nothing.

    Weights are the variables of the model: a mapping of flax collections, ``params`` among them and
    ``batch_stats`` where it has running statistics. A message is a kind, ``jnp.int32`` of a
    ``wire.Kind``, and a tuple of sections; ``wire.values`` says what a section stands for. Its kind
    is WEIGHTS if it tells what the receiver is to hold, UPDATE if it tells a change (downwards only
    with a ``common``), CODEBOOK for centers alone, and NOTHING where nothing is sent. Without a
    schedule of its own an algorithm gets the exchanges of the run's, which it need not heed. Run a
    new one with ``wire_check=True`` once: it holds every message against its bytes.

    Attributes:
      init: (weights, num_clients) -> (server state, store). Once. The store holds what every
        client keeps between rounds, with a leading client axis; None for nothing.
      broadcast: (server state, exchange, key) -> (message, server state). Once a round.
      receive: client: (stored, message, common) -> Start. ``common`` as it was before this
        broadcast; None where the algorithm has none.
      upload: client: (stored, work, exchange, key) -> (message, stored).
      aggregate: (server state, messages, sample counts f32[M], exchange) -> server state.
        Once a round; the messages have a leading axis of the M clients in the round. Their kinds
        say what arrived of each: not all need be what the exchange asked for, and one that was
        lost is of kind NOTHING. Whatever did not arrive is zero, and so is the sample count of a
        client of which nothing did.
      report: (server state, store) -> (weights, deployed). The models to evaluate, with a
        leading axis over which figures are averaged: the server's own, and the one that
        clients would receive; None for ``deployed`` where the two are the same.
      schedule: the schedule that the algorithm brings with it, or None to follow the run's.
      objective: how local training is shaped.
      common: server state -> what all clients that are up to date hold alike. For algorithms
        that broadcast changes of it:

            receive(stored, decode(encode(message)), common before).weights == common after

        bitwise, ``before`` and ``after`` the broadcast, but for what clients keep to themselves.
      whole: server state -> the message that brings any client up to date, given the state
        after the broadcast. A client that missed broadcasts, or never took part, is sent all
        that it missed or this, whichever is shorter. Only where there is a ``common``.
      lost: client: (stored, message) -> stored. Takes back what counted on an upload that did
        not arrive: afterwards all is as if it had held nothing. None where nothing counts on it.
      personal: client: (server state, stored) -> weights. A client's own model between rounds,
        where clients keep parts of it to themselves; each is evaluated by itself. None where the
        models of ``report`` are all there are.
      heard: client: (stored, message) -> (message, stored). Where an upload is read given what
        both sides hold of its client, both do so by this alone, of an upload that arrived: the
        message with all that it stands for, which ``aggregate`` is given, and what both hold
        afterwards. ``stored`` is what ``upload`` gave, the message zero in all that its kind does
        not carry. What both hold, ``upload`` leaves as it is, so it stays if nothing arrives.
        None where messages say all by themselves.
      restarted: client: stored -> stored. Takes back what both sides held of a client, when the
        server has lost its part: afterwards both hold what they did at first. Needed with ``heard``
        where servers restart; None where nothing in the store is held by both.
      fits_codebooks: whether clients fit codebooks to what they upload, once a round, which takes
        them the time that their ``Links`` say. None: if their messages have ``wire.Coded``
        sections; False where those hold centers that no client had to find.
      portable: server state -> Portable. The deployed model as sections that say all by themselves,
        in as few bytes as the method has for them: what ``fedcode export`` writes. None: floats.

    Source of the form: optax, for functions and states; Karimireddy et al., arXiv 1910.06378,
    and Seide et al. 2014 for what it must hold: control variates, and residuals of what was sent.
    """

    init: Callable[[Weights, int], tuple[ServerState, Stored]]
    broadcast: Callable[[ServerState, Exchange, jax.Array], tuple[Message, ServerState]]
    receive: Callable[[Stored, Message, Any], Start]
    upload: Callable[[Stored, Work, Exchange, jax.Array], tuple[Message, Stored]]
    aggregate: Callable[[ServerState, Message, jax.Array, Exchange], ServerState]
    report: Callable[[ServerState, Stored], tuple[Weights, Weights | None]]
    schedule: Schedule | None = None
    objective: Objective = Objective()
    common: Callable[[ServerState], Weights] | None = None
    whole: Callable[[ServerState], Message] | None = None
    lost: Callable[[Stored, Message], Stored] | None = None
    personal: Callable[[ServerState, Stored], Weights] | None = None
    heard: Callable[[Stored, Message], tuple[Message, Stored]] | None = None
    restarted: Callable[[Stored], Stored] | None = None
    fits_codebooks: bool | None = None
    portable: Callable[[ServerState], Portable] | None = None


def mean_of_clients(
    decode: Callable[[Any], jax.Array], sections: Any, num_samples: jax.Array
) -> jax.Array:
    """``weighted_mean`` of what sections stand for, some clients after others if they are many.

    Args:
      decode: a client's section -> f32[n].
      sections: with a leading axis of M.
      num_samples: f32[M], as of ``weighted_mean``.

    Returns:
      f32[n]. In memory 1,024 n floats are decoded at once, not M n.
    """
    M = num_samples.shape[0]
    if M <= _AT_ONCE:
        return weighted_mean(jax.vmap(decode)(sections), num_samples)
    parts = -(-M // _AT_ONCE)

    def cut(leaf: jax.Array) -> jax.Array:
        leaf = jnp.asarray(leaf)
        filled = jnp.pad(leaf, [(0, parts * _AT_ONCE - M), *[(0, 0)] * (leaf.ndim - 1)])
        return filled.reshape(parts, _AT_ONCE, *leaf.shape[1:])

    counts = cut(num_samples)
    means = jax.lax.map(
        lambda part: weighted_mean(jax.vmap(decode)(part[0]), part[1]),
        (jax.tree.map(cut, sections), counts),
    )
    return weighted_mean(means, jnp.sum(counts, axis=1))


def one(weights: Weights) -> Weights:
    """A single model as ``Algorithm.report`` gives it, with a leading axis of 1."""
    return jax.tree.map(lambda leaf: leaf[None], weights)
