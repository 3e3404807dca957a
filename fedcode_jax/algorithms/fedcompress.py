"""FedCompress: training towards few centers, and more of them when clients stop learning."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import codebook, randomness, schedules, wire
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms import growth
from fedcode_jax.algorithms.base import Algorithm, At, Objective, Start, Work, mean_of_clients, one
from fedcode_jax.algorithms.combining import moved_by
from fedcode_jax.algorithms.distil import Distillation, noise
from fedcode_jax.algorithms.fedavg import FloatClient
from fedcode_jax.algorithms.growth import Growth
from fedcode_jax.algorithms.kernels import (
    kernels_of,
    layout_of,
    straight_through,
    with_kernels,
)
from fedcode_jax.algorithms.layout import Weights, trainable, with_trainable
from fedcode_jax.algorithms.portable import Portable
from fedcode_jax.errors import check_name
from fedcode_jax.limits import check_real, check_whole
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import CODINGS, Coded, Dense, Kind, Message, Section

Centers = tuple[jax.Array, ...]
"""Of each kernel f32[K]."""


class Server(NamedTuple):
    """What the server keeps.

    Attributes:
      weights: what its clients' mean was distilled to; the mean itself without distillation.
      sections: these, clustered: what it sends.
      growth: how many centers are in use, and by what.
    """

    weights: Weights
    sections: tuple[Section, ...]
    growth: Growth


# Long: a closure for each verb, each of them short.
@randomness.standard_parts
def fedcompress(
    num_clusters: int = 8,
    max_clusters: int = 30,
    limit: float = 0.01,
    patience: int = 4,
    distil_steps: int = 10,
    coding: str = "entropy",
    aggregation: Aggregation | None = None,
    *,
    model: Any = None,
    input_shape: tuple[int, ...] | None = None,
) -> Algorithm:
    """FedCompress: clustered training at clients, distillation to clustered weights at the server.

    Each kernel has a codebook of K centers in use, of K_max that there may be.

    1. The server sends K, and each kernel as centers and codes; a client starts from these.
    2. Clients train as usual for the first half of their steps. In the second half the model is
       applied with the kernels clustered, and the gradient passes straight through: of the values
       nearest to each center received, all are at their mean.
    3. A client fits K centers to each trained kernel and sends these, the codes, and its loss.
    4. The server averages the clustered weights by samples, to w. K grows by one, by the rule of
       ``growth``, up to K_max, when the mean loss stops falling.
    5. A student starts at w, takes steps of Adam on sum_x KL(softmax(z_w(x) / 2) || softmax(z(x) /
       2)), its kernels clustered as in training, z the logits, x inputs of noise; and is clustered
       with the new K.

    Biases, norms and running statistics are sent as floats, and averaged. Clients must train so far
    that values come to other centers (the authors: ten epochs), or nothing is learnt.

    Unlike the authors, who take accuracy and the rank of embeddings of validation samples, K grows
    by the training loss, which clients know anyway; the distillation is on white noise in place of
    pictures or speech, and leaves running statistics as they are; both halves of training have the
    same learning rate and one state of the optimiser.

    Args:
      num_clusters: K at first.
      max_clusters: K_max, at least ``num_clusters``.
      limit: of ``growth``.
      patience: of ``growth``.
      distil_steps: steps of the student; 0 for none.
      coding: how codes are written, as of ``fedcode``; but for ``fixed``, which counts as if all
        K_max were in use, only centers in use are sent, and codes take ceil(log2 K) bits at most.
      aggregation: the rule that is given what clients' clustered weights are more than w; None for
        the mean by samples. Not one that is ``random``.
      model: whose logits are distilled; None for no distillation.
      input_shape: of one sample.

    Returns:
      The algorithm; clients keep nothing.

    Raises:
      ConfigError: a setting that is not allowed; a model without kernels.

    Source: Tsouvalas et al., arXiv 2401.14211, and the authors' program.

    Example:
      >>> server, _ = fedcompress(2, 4).init({"params": {"kernel": jnp.arange(8.0)}}, 1)
      >>> server.sections[0].centers.tolist(), server.sections[0].codes.tolist()
      ([1.5, 5.5, 5.5, 5.5], [0, 0, 0, 0, 1, 1, 1, 1])
    """
    check_whole("algorithm.num_clusters", num_clusters, 1, 256)
    check_whole("algorithm.max_clusters", max_clusters, num_clusters, 256)
    check_real("algorithm.limit", limit, 0)
    check_whole("algorithm.patience", patience, 1)
    check_whole("algorithm.distil_steps", distil_steps, 0)
    check_name("algorithm.coding", coding, CODINGS)
    distils = model is not None and distil_steps > 0

    def sections_of(weights: Weights, used: jax.Array) -> tuple[Section, ...]:
        layout = layout_of(weights)
        sections: list[Section] = []
        for policy, vector in zip(layout.policies, layout.split(weights), strict=True):
            if policy != "coded":
                sections.append(Dense(vector))
                continue
            centers = codebook.fit_in_use(vector, max_clusters, used)
            sections.append(Coded(centers, codebook.encode(centers, vector), coding))
        return tuple(sections)

    def init(weights: Weights, num_clients: int) -> tuple[Server, FloatClient]:
        first = growth.begun(num_clusters)
        server = Server(weights, sections_of(weights, first.clusters), first)
        return server, FloatClient(None, layout_of(weights))

    def broadcast(server: Server, exchange: Exchange, key: jax.Array) -> tuple[Message, Server]:
        used = Dense(server.growth.clusters.astype(jnp.float32)[None])
        return Message(jnp.int32(Kind.WEIGHTS), (*server.sections, used)), server

    def receive(stored: FloatClient, message: Message, common: None) -> Start:
        *sections, used = message.sections
        weights = stored.layout.join(list(map(wire.values, sections)))
        return Start(weights, (centers_of(sections), wire.values(used)[0].astype(jnp.int32)))

    def view(params: Weights, carried: Any, at: At, key: jax.Array) -> Weights:
        return seen(params, carried[0], at.step >= at.steps // 2)

    def upload(
        stored: FloatClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, FloatClient]:
        sections = sections_of(work.trained, work.start.carried[1])
        kind = jnp.where(exchange.clients_send_weights, jnp.int32(Kind.WEIGHTS), Kind.NOTHING)
        return Message(kind, (*sections, Dense(jnp.float32(work.loss)[None]))), stored

    def aggregate(
        server: Server, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> Server:
        layout = layout_of(server.weights)
        samples = jnp.where(wire.carries_values(messages.kind), num_samples, 0.0)
        *sections, losses = messages.sections
        loss = mean_of_clients(wire.values, losses, samples)[0]
        grown = growth.heard(server.growth, loss, limit, patience, max_clusters)
        if aggregation is None:
            vectors = [mean_of_clients(wire.values, part, samples) for part in sections]
        else:
            sent = [jax.vmap(wire.values)(section) for section in sections]
            vectors = moved_by(aggregation, layout.split(server.weights), sent, samples)
        weights = layout.join(vectors)
        if distils:
            weights = distilled(weights, grown)
        new = Server(weights, sections_of(weights, grown.clusters), grown)
        anybody = jnp.any(samples > 0)
        return jax.tree.map(lambda new, old: jnp.where(anybody, new, old), new, server)

    def distilled(weights: Weights, grown: Growth) -> Weights:
        assert input_shape is not None
        centers = centers_of(sections_of(weights, grown.clusters))
        student = Distillation(
            lambda params, x: model.apply(with_trainable(weights, params), x, train=False),
            lambda params: seen(params, centers, jnp.bool_(True)),
        )
        params = student.run(trainable(weights), distil_steps, noise(input_shape), grown.rounds)
        return with_trainable(weights, params)

    def report(server: Server, store: FloatClient) -> tuple[Weights, Weights]:
        return one(server.weights), one(portable(server).weights)

    def portable(server: Server) -> Portable:
        return Portable(server.sections, layout_of(server.weights))

    return Algorithm(
        *(init, broadcast, receive, upload, aggregate, report),
        schedule=schedules.always(),
        objective=Objective(view=view),
        portable=portable,
    )


def centers_of(sections: Any) -> Centers:
    """The codebooks of the kernels."""
    return tuple(jnp.asarray(part.centers) for part in sections if isinstance(part, Coded))


def seen(params: Weights, centers: Centers, is_clustered: jax.Array) -> Weights:
    """The params, their kernels clustered if that is asked for, with the gradients of the params.

    Example:
      >>> params, of = {"kernel": jnp.array([0.0, 1.0, 5.0])}, (jnp.array([0.4, 6.0]),)
      >>> seen(params, of, jnp.bool_(True))["kernel"].tolist()
      [0.5, 0.5, 5.0]
    """
    kernels = [
        straight_through(jax.lax.stop_gradient(jnp.where(is_clustered, near(k, c), k)), k)
        for k, c in zip(kernels_of(params), centers, strict=True)
    ]
    return with_kernels(params, kernels)


def near(kernel: jax.Array, centers: jax.Array) -> jax.Array:
    """Of the values nearest to each center, their mean in place of all of them.

    Args:
      kernel: f32[...].
      centers: f32[K], ascending.

    Returns:
      f32[...].
    """
    values = jnp.ravel(kernel)
    codes = codebook.encode(centers, values).astype(jnp.int32)
    is_in = codes[None] == jnp.arange(centers.size)[:, None]
    sizes = jnp.sum(is_in, axis=1)
    means = jnp.sum(jnp.where(is_in, values, 0), axis=1) / jnp.maximum(sizes, 1)
    return means[codes].reshape(kernel.shape)
