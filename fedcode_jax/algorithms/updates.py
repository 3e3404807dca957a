"""Algorithms that send changes: compressed up and down, with any optimiser at the server."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedcode_jax import randomness, schedules, wire
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms.base import (
    Algorithm,
    Objective,
    Start,
    Work,
    one,
)
from fedcode_jax.algorithms.combining import first_key, is_heard, key_of
from fedcode_jax.algorithms.groups import keeps_any
from fedcode_jax.algorithms.layout import Layout, Weights, trainable, with_trainable
from fedcode_jax.algorithms.ways import Ways, compressible
from fedcode_jax.compress import Compressor, none
from fedcode_jax.errors import ConfigError
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Kind, Message


class UpdatesServer(NamedTuple):
    """What the server keeps.

    Attributes:
      weights: its own w.
      common: what all clients that are up to date hold; None where weights go down whole.
      down: what the compressor of each compressed group remembers on the way down.
      optimizer: state of the optimiser of w.
      key: data of the key of this round's aggregation; None where that needs none.
    """

    weights: Weights
    common: Weights | None
    down: tuple[Any, ...]
    optimizer: Any
    key: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UpdatesClient:
    """What a client keeps.

    Attributes:
      up: what the compressor of each compressed group remembers on the way up.
      kept: its own values of each group that it keeps.
      layout: how the groups make up the weights.
    """

    up: tuple[Any, ...]
    kept: tuple[jax.Array, ...]
    layout: Layout = dataclasses.field(metadata={"static": True})


# Long: a closure for each verb, each of them short.
def updates(
    up: Compressor | None = None,
    down: Compressor | None = None,
    *,
    server: optax.GradientTransformation | None = None,
    objective: Objective = Objective(),
    groups: str = "params",
    aggregation: Aggregation | None = None,
) -> Algorithm:
    """FedAvg by changes: any compressor each way, any local objective, any server optimiser.

    For one compressed group, with w the server's values and c what all clients hold:

    1. Broadcast. The server sends C_down(w - c), and c <- c + D_down of it. What is left of w - c
       goes with the next one: the residual needs no memory of its own. Without a compressor down
       it sends w.
    2. Receive. A client starts at c.
    3. Local training, under the objective; its ``carried`` is the params that it starts from.
    4. Upload. C_up(trained - start).
    5. Aggregate. d = sum_i N_i D_up(upload_i) / sum_i N_i; the server's optimiser takes a step from
       w along the gradient -d.

    Groups that are not compressed travel as floats, and are averaged. The optimiser acts on params
    alone; running statistics are averaged. A rule of aggregation takes the place of all means: it
    is given D_up(upload_i) of what is compressed, and of the floats what they are more than w.

    Groups that are ``local`` never travel. A client starts from its own values of them, at first
    the initial ones, and keeps what training makes of these, whether its upload arrives or not. The
    server's stay the initial ones: what it reports is the model of a client that has never trained.
    ``personal`` is a client's own model, the server's values with its own of the local groups.

    Args:
      up: the compressor of uploads; None for float32.
      down: the compressor of broadcasts, without a memory; None for weights as floats.
      server: the optimiser of the server; None for ``optax.sgd(1.0)``, which adds the mean change.
      objective: how local training is shaped.
      groups: what is compressed together, as of ``fedcode``: ``coded`` and ``layered`` groups are.
        What clients keep is ``local``.
      aggregation: the rule by which the server combines the clients' changes; None for the mean by
        samples. A rule needs all changes at once, M n floats.

    Returns:
      The algorithm.

    Raises:
      ConfigError: a compressor that is none, running statistics in a compressed group, a ``coded``
        group with a compressor that needs shapes, or a compressor down that has a memory; once the
        model is known, also local groups that keep nothing or everything.

    Source: changes, and the server's optimiser: Reddi et al., arXiv 2003.00295, algorithm 1;
    compressed both ways: Sattler et al., arXiv 1903.02891; local groups: Arivazhagan et al., arXiv
    1912.00818, and Li et al., arXiv 2102.07623, algorithm 1.

    Example:
      >>> from fedcode_jax import compress, schedules
      >>> algorithm = updates(compress.error_feedback(compress.topk(0.5)))
      >>> server, store = algorithm.init({"params": {"kernel": jnp.zeros(4)}}, 1)
      >>> stored = jax.tree.map(lambda leaf: leaf[0], store)
      >>> start = Start({"params": {"kernel": jnp.zeros(4)}})
      >>> work = Work(start, {"params": {"kernel": jnp.array([0.1, 2.0, -3.0, 0.0])}}, 1, 0.1, 0.0)
      >>> sends = schedules.always()(1)
      >>> message, _ = algorithm.upload(stored, work, sends, jax.random.key(0))
      >>> message.sections[0].positions.tolist()
      [1, 2]
    """
    for direction, compressor in (("up", up), ("down", down)):
        if compressor is not None and not isinstance(compressor, Compressor):
            raise ConfigError(
                f"algorithm.{direction}: {type(compressor).__name__} is no compressor; wrap a "
                "function (vector, key) -> section in compress.stateless"
            )
    if down is not None and down.has_memory:
        raise ConfigError(
            "algorithm.down: a compressor with a memory, such as error feedback or dgc, cannot be "
            "used: what the server's weights are ahead of its clients goes with the next broadcast "
            "in any case, and would count twice"
        )
    way = Ways(compressible(groups, up, down), up or none(), down)
    step = server or optax.sgd(1.0)

    def init(weights: Weights, num_clients: int) -> tuple[UpdatesServer, UpdatesClient]:
        layout = way.layout(weights)

        def for_all(memory: Any) -> Any:
            return jax.tree.map(lambda x: jnp.tile(x, (num_clients,) + (1,) * jnp.ndim(x)), memory)

        common = None if down is None else weights
        memories = () if down is None else way.memories(down, layout)
        residuals = for_all(way.memories(way.up, layout))
        store = UpdatesClient(residuals, for_all(way.kept_of(layout, weights)), layout)
        key = first_key(aggregation)
        return UpdatesServer(weights, common, memories, step.init(trainable(weights)), key), store

    def broadcast(
        server: UpdatesServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, UpdatesServer]:
        server = server._replace(key=key_of(aggregation, key))
        layout = way.layout(server.weights)
        own = layout.split(server.weights)
        if down is None:
            return Message(jnp.int32(Kind.WEIGHTS), way.floats(layout, own)), server
        ahead = tuple(w - c for w, c in zip(own, layout.split(server.common), strict=True))
        sections, memories = way.compressed(down, layout, own, ahead, server.down, key)
        message = Message(jnp.int32(Kind.UPDATE), sections)
        kept = way.kept_of(layout, server.common)
        common = way.received(layout, message, server.common, kept)
        return message, server._replace(common=common, down=memories)

    def receive(stored: UpdatesClient, message: Message, common: Any) -> Start:
        weights = way.received(stored.layout, message, common, stored.kept)
        return Start(weights, trainable(weights) if any(objective) else None)

    def upload(
        stored: UpdatesClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, UpdatesClient]:
        layout = stored.layout
        own, start = layout.split(work.trained), layout.split(work.start.weights)
        change = tuple(new - old for new, old in zip(own, start, strict=True))
        sections, memories = way.compressed(way.up, layout, own, change, stored.up, key)
        kind = jnp.where(exchange.clients_send_weights, jnp.int32(Kind.UPDATE), Kind.NOTHING)
        kept = way.kept_of(layout, work.trained)
        return Message(kind, sections), dataclasses.replace(stored, up=memories, kept=kept)

    def lost(stored: UpdatesClient, message: Message) -> UpdatesClient:
        layout = stored.layout
        memories = []
        for g, memory in zip(way.compressed_in(layout), stored.up, strict=True):
            up = way.fitted(way.up, layout, g)
            assert up.undo is not None
            sent = up.decompress(way.section_of(layout, message, g), sum(layout.sizes[g]))
            memories.append(up.undo(memory, sent))
        return dataclasses.replace(stored, up=tuple(memories))

    def aggregate(
        server: UpdatesServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> UpdatesServer:
        layout = way.layout(server.weights)
        counted = jnp.where(wire.carries_values(messages.kind), num_samples, 0.0)
        mean = way.combined(layout, messages, server.weights, counted, aggregation, server.key)
        params = trainable(server.weights)
        gradient = jax.tree.map(lambda old, new: old - new, params, trainable(mean))
        change, state = step.update(gradient, server.optimizer, params)
        moved = with_trainable(mean, optax.apply_updates(params, change))
        # An optimiser may move what has no gradient: a decay of weights does.
        moved = way.with_kept(layout, moved, way.kept_of(layout, server.weights))
        after = server._replace(weights=moved, optimizer=state)
        heard = is_heard(aggregation, counted)
        return jax.tree.map(lambda old, new: jnp.where(heard, new, old), server, after)

    def common(server: UpdatesServer) -> Weights:
        return server.common

    def whole(server: UpdatesServer) -> Message:
        layout = way.layout(server.weights)
        floats = way.floats(layout, layout.split(server.common))
        return Message(jnp.int32(Kind.WEIGHTS), floats)

    def report(server: UpdatesServer, store: UpdatesClient) -> tuple[Weights, Weights | None]:
        if down is None:
            return one(server.weights), None
        _, sent = broadcast(server, schedules.always()(1), randomness.key(0))
        return one(server.weights), one(sent.common)

    def personal(server: UpdatesServer, stored: UpdatesClient) -> Weights:
        return way.with_kept(stored.layout, server.weights, stored.kept)

    return Algorithm(
        init,
        broadcast,
        receive,
        upload,
        aggregate,
        report,
        schedule=schedules.always(),
        objective=objective,
        common=None if down is None else common,
        whole=None if down is None else whole,
        lost=None if way.up.undo is None else lost,
        personal=personal if keeps_any(way.groups) else None,
        fits_codebooks=way.up.fits_codebooks,
    )
