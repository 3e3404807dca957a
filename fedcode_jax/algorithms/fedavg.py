"""FedAvg, and the controls that send its float messages less often or never."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedcode_jax import schedules
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms import objectives
from fedcode_jax.algorithms.base import Algorithm, Objective, Start, Work, one, weighted_mean
from fedcode_jax.algorithms.combining import moved_by
from fedcode_jax.algorithms.groups import KINDS, Group, keeps_any, parse
from fedcode_jax.algorithms.layout import Layout, Weights, trainable
from fedcode_jax.algorithms.updates import updates
from fedcode_jax.compress import Compressor
from fedcode_jax.limits import check_real
from fedcode_jax.schedules import Exchange, Schedule
from fedcode_jax.wire import Dense, Kind, Message


class FloatServer(NamedTuple):
    """The server's weights w, as floats."""

    weights: Weights


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FloatClient:
    """What a client keeps: its trained weights f32[n], or None if it keeps nothing."""

    weights: jax.Array | None
    layout: Layout = dataclasses.field(metadata={"static": True})


def fedavg(
    up: Compressor | None = None,
    down: Compressor | None = None,
    groups: str = "params",
    server: optax.GradientTransformation | None = None,
    proximal: float = 0.0,
    aggregation: Aggregation | None = None,
) -> Algorithm:
    """FedAvg: every variable as float32, both ways, every round; or changes, as is asked.

        w = sum_i N_i w_i / sum_i N_i

    Args:
      up: compressor of the uploads, which then are changes; see ``updates``.
      down: compressor of the broadcasts, likewise.
      groups: what is compressed together, and what clients keep, as of ``updates``; without a
        compressor only the latter counts.
      server: how the server moves along the mean change, as of ``updates``; None adds it.
      proximal: mu of FedProx, how firmly clients are held to where they start; 0 for not at all.
      aggregation: the rule by which the server combines what clients send, as of ``updates``; None
        for the mean by samples.

    Returns:
      The algorithm; without compressors and local groups clients keep nothing between rounds.

    Raises:
      ConfigError: as of ``updates``, or a ``proximal`` that is not allowed.

    Source: McMahan et al., arXiv 1602.05629, algorithm 1.

    Example:
      >>> import jax.numpy as jnp
      >>> server, store = fedavg().init({"kernel": jnp.ones(3)}, 10)
      >>> server.weights["kernel"].tolist(), store.weights
      ([1.0, 1.0, 1.0], None)
    """
    check_real("algorithm.proximal", proximal, 0)
    objective = objectives.proximal(proximal) if proximal > 0 else Objective()
    others = (up, down, server, aggregation)
    if any(part is not None for part in others) or keeps_any(parse(groups)):
        return updates(
            *(up, down),
            server=server,
            objective=objective,
            groups=groups,
            aggregation=aggregation,
        )
    # A body of its own: w plus the mean change rounds unlike the mean of weights.
    return _float_messages(schedules.always(), clients_keep=False, objective=objective)


def fedavg_every(period: int = 5, aggregation: Aggregation | None = None) -> Algorithm:
    """FedAvg each f rounds, local training alone in between; nothing else is sent.

    A control, in float32 messages. With all clients in every round: the same local work as FedAvg
    at 1/f of its bytes. With some of them, a client goes on from the weights of its own last visit,
    however long ago, in rounds in which nothing is sent; the visits of a client between two
    exchanges are few or none, so that the local work behind an average is less, and some of those
    who send have not begun at the server's last one. The store is C x n floats, of all clients.

    Args:
      period: f in rounds, >= 1; 1 is FedAvg.
      aggregation: the rule that is given what clients' weights are more than the server's; None for
        the mean by samples. Not one that is ``random``.

    Returns:
      The algorithm.

    Raises:
      ConfigError: a period below 1.

    Example:
      >>> [t for t in range(1, 8) if fedavg_every(3).schedule(t).clients_send_weights]
      [3, 6]
    """
    return _float_messages(schedules.every(period), clients_keep=True, aggregation=aggregation)


def local_only() -> Algorithm:
    """Each client trains on its own data; only the initial weights are ever sent.

    A control: what is reported is the mean over the clients of their own models' figures. With
    some of the clients in a round, a client's model is that of its last visit, and the initial one
    before the first: in R rounds it has trained R M / C times in the mean. The store is C x n
    floats, and all C models are evaluated.

    Returns:
      The algorithm.

    Example:
      >>> bool(local_only().schedule(1).clients_send_weights)
      False
    """

    def report(server: FloatServer, store: FloatClient) -> tuple[Weights, None]:
        return jax.vmap(lambda vector: store.layout.join((vector,)))(store.weights), None

    return _float_messages(schedules.never(), clients_keep=True)._replace(report=report)


# Long: a closure for each verb, each of them short.
def _float_messages(
    schedule: Schedule,
    *,
    clients_keep: bool,
    objective: Objective = Objective(),
    aggregation: Aggregation | None = None,
) -> Algorithm:
    """Float weights in the rounds of the schedule, nothing in the others."""

    def message_of(vector: jax.Array, sends_weights: jax.Array) -> Message:
        kind = jnp.where(sends_weights, jnp.int32(Kind.WEIGHTS), jnp.int32(Kind.NOTHING))
        return Message(kind, (Dense(vector),))

    def layout_of(weights: Weights) -> Layout:
        return Layout.of(weights, [Group(KINDS, "dense")])

    def init(weights: Weights, num_clients: int) -> tuple[FloatServer, FloatClient]:
        layout = layout_of(weights)
        (vector,) = layout.split(weights)
        kept = jnp.tile(vector, (num_clients, 1)) if clients_keep else None
        return FloatServer(weights), FloatClient(kept, layout)

    def broadcast(
        server: FloatServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, FloatServer]:
        (vector,) = layout_of(server.weights).split(server.weights)
        return message_of(vector, exchange.server_sends_weights), server

    def receive(stored: FloatClient, message: Message, common: None) -> Start:
        (section,) = message.sections
        assert isinstance(section, Dense)
        vector = jnp.asarray(section.values)
        if stored.weights is not None:
            vector = jnp.where(message.kind == Kind.WEIGHTS, vector, stored.weights)
        weights = stored.layout.join((vector,))
        return Start(weights, trainable(weights) if any(objective) else None)

    def upload(
        stored: FloatClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, FloatClient]:
        (vector,) = stored.layout.split(work.trained)
        kept = None if stored.weights is None else vector
        return (
            message_of(vector, exchange.clients_send_weights),
            dataclasses.replace(stored, weights=kept),
        )

    def aggregate(
        server: FloatServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> FloatServer:
        layout = layout_of(server.weights)
        (section,) = messages.sections
        assert isinstance(section, Dense)
        counted = jnp.where(messages.kind == Kind.WEIGHTS, num_samples, 0.0)
        values = jnp.asarray(section.values)
        if aggregation is None:
            vector = weighted_mean(values, counted)
        else:
            held = layout.split(server.weights)
            (vector,) = moved_by(aggregation, held, (values,), counted)
        mean = layout.join((vector,))
        keep = lambda old, new: jnp.where(jnp.any(counted > 0), new, old)  # noqa: E731
        return FloatServer(jax.tree.map(keep, server.weights, mean))

    def report(server: FloatServer, store: FloatClient) -> tuple[Weights, None]:
        return one(server.weights), None

    return Algorithm(init, broadcast, receive, upload, aggregate, report, schedule, objective)
