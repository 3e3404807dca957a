"""FedCode: codebooks in most rounds, codebooks and codes in calibration rounds."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import codebook
from fedcode_jax.algorithms.base import Algorithm, one, weighted_mean
from fedcode_jax.algorithms.groups import Layout, Weights, parse
from fedcode_jax.codebook.fitting import check_num_clusters
from fedcode_jax.errors import check_name
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Array, Coded, Dense, Kind, Message

MERGES = ("union", "rank_mean")
_DENSE_DTYPES = {"dense": "float32", "dense16": "float16"}


class CodedServer(NamedTuple):
    """The server's own weights w: un-clustered, what a codebook round snaps."""

    weights: Weights


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CodedClient:
    """What a client keeps of its last participation: K centers and n codes, not n floats.

    Attributes:
      parts: for every group of the layout a ``Coded`` section, or f32[n_g] if its policy is
        not coded.
      layout: how the groups make up the weights.
    """

    parts: tuple[Coded | jax.Array, ...]
    layout: Layout = dataclasses.field(metadata={"static": True})


def fedcode(num_clusters: int = 64, groups: str = "kernels", merge: str = "union") -> Algorithm:
    """FedCode: messages are codebooks, with codes only in weights rounds.

    The steps of the paper, for one coded group of n values; the rounds in which weights go
    each way are the schedule's:

    1. Broadcast. The server fits a codebook c_s (K centers) to its w and sends it, in a
       weights round with the codes of w.
    2. Receive. From weights a client starts at decode(c_s, codes); from a codebook at
       snap(c_s, its own stored weights).
    3. Local training.
    4. Upload. The client fits c_i to its trained weights, keeps decode(c_i, codes_i), and
       sends c_i, in a weights round with codes_i.
    5. Aggregate. Weights round: w = sum_i N_i decode(c_i, codes_i) / sum_i N_i. Codebook
       round: w = snap(merge of the c_i, the server's previous w).
    6. Report. The server's w, and ``deployed``: the K-valued model that clients would
       receive.

    Dense groups are sent as floats in weights rounds and kept by both sides otherwise; local
    groups are never sent: clients keep their own, the server its initial values.

    Args:
      num_clusters: K, centers of a codebook, 1 to 65,536.
      groups: which variables share a codebook, as ``groups.parse`` reads it.
      merge: how the server merges the codebooks of a codebook round: ``union``, all M K
        centers (the paper); or ``rank_mean``, the mean over the clients of the centers of
        equal rank (the 1-D Wasserstein barycenter of the codebooks with equal masses).

    Returns:
      The algorithm.

    Raises:
      ConfigError: a setting that is not allowed.

    Source: Khalilian et al., arXiv 2311.09270, section 3, and the authors' program.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from fedcode_jax import schedules
      >>> algorithm = fedcode(num_clusters=2)
      >>> server, store = algorithm.init({"kernel": jnp.array([0.0, 0.1, 1.0, 1.1])}, 3)
      >>> exchange = schedules.periodic()(1)
      >>> message, server = algorithm.broadcast(server, exchange, jax.random.key(0))
      >>> message.sections[0].codes.tolist()
      [0, 0, 1, 1]
    """
    num_clusters = check_num_clusters(num_clusters)
    check_name("algorithm.merge", merge, MERGES)
    parsed = parse(groups)

    def section_of(policy: str, vector: jax.Array) -> Coded | Dense:
        if policy != "coded":
            return Dense.rounded(vector, _DENSE_DTYPES[policy])
        centers = codebook.fit(vector, num_clusters)
        return Coded(centers, codebook.encode(centers, vector))

    def message_of(layout: Layout, weights: Weights, sends_weights: jax.Array) -> Message:
        kind = jnp.where(sends_weights, jnp.int32(Kind.WEIGHTS), jnp.int32(Kind.CODEBOOK))
        parts = zip(layout.policies, layout.split(weights), strict=True)
        return Message(kind, tuple(section_of(p, v) for p, v in parts if p != "local"))

    def init(weights: Weights, num_clients: int) -> tuple[CodedServer, CodedClient]:
        layout = Layout.of(weights, parsed)

        def kept(policy: str, vector: jax.Array) -> Coded | jax.Array:
            if policy != "coded":
                return jnp.tile(vector, (num_clients, 1))
            code_type = jnp.uint8 if num_clusters <= 256 else jnp.uint16
            return Coded(
                jnp.zeros((num_clients, num_clusters)),
                jnp.zeros((num_clients, vector.size), code_type),
            )

        parts = zip(layout.policies, layout.split(weights), strict=True)
        return CodedServer(weights), CodedClient(tuple(kept(p, v) for p, v in parts), layout)

    def broadcast(
        server: CodedServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, CodedServer]:
        layout = Layout.of(server.weights, parsed)
        return message_of(layout, server.weights, exchange.server_sends_weights), server

    def receive(stored: CodedClient, message: Message) -> Weights:
        sections = iter(message.sections)
        vectors = []
        for policy, own in zip(stored.layout.policies, stored.parts, strict=True):
            section = None if policy == "local" else next(sections)
            vectors.append(_received(own, section, message.kind))
        return stored.layout.join(vectors)

    def upload(
        stored: CodedClient, trained: Weights, start: Weights, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, CodedClient]:
        message = message_of(stored.layout, trained, exchange.clients_send_weights)
        coded = iter([section for section in message.sections if isinstance(section, Coded)])
        parts = zip(stored.layout.policies, stored.layout.split(trained), strict=True)
        kept = tuple(next(coded) if policy == "coded" else vector for policy, vector in parts)
        return message, dataclasses.replace(stored, parts=kept)

    def aggregate(
        server: CodedServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> CodedServer:
        layout = Layout.of(server.weights, parsed)
        sections = iter(messages.sections)
        vectors = []
        for policy, own in zip(layout.policies, layout.split(server.weights), strict=True):
            if policy == "local":
                vectors.append(own)
            else:
                vectors.append(_aggregated(own, next(sections), num_samples, exchange, merge))
        return CodedServer(layout.join(vectors))

    def report(server: CodedServer, store: CodedClient) -> tuple[Weights, Weights]:
        layout = Layout.of(server.weights, parsed)
        vectors = []
        for policy, own in zip(layout.policies, layout.split(server.weights), strict=True):
            section = None if policy == "local" else section_of(policy, own)
            vectors.append(_received(own, section, jnp.int32(Kind.WEIGHTS)))
        return one(server.weights), one(layout.join(vectors))

    return Algorithm(init, broadcast, receive, upload, aggregate, report)


def _decoded(section: Coded) -> jax.Array:
    return codebook.decode(jnp.asarray(section.centers), jnp.asarray(section.codes))


def _received(own: Coded | jax.Array, section: Coded | Dense | None, kind: Array) -> jax.Array:
    """The values of one group that a client starts from."""
    if isinstance(section, Coded):
        weights = _decoded(section)
        if not isinstance(own, Coded):
            return weights
        stored = _decoded(own)
        # Snapping n values is the same as snapping the K centers they take.
        centers = codebook.snap(jnp.asarray(section.centers), jnp.asarray(own.centers))
        snapped = _decoded(Coded(centers, own.codes))
        return jnp.select([kind == Kind.WEIGHTS, kind == Kind.CODEBOOK], [weights, snapped], stored)
    assert not isinstance(own, Coded)
    return own if section is None else jnp.where(kind == Kind.WEIGHTS, section.values, own)


def _aggregated(
    own: jax.Array,
    section: Coded | Dense,
    num_samples: jax.Array,
    exchange: Exchange,
    merge: str,
) -> jax.Array:
    """The server's new values of one group."""
    if isinstance(section, Dense):
        mean = weighted_mean(section.values, num_samples)
        return jnp.where(exchange.clients_send_weights, mean, own)

    def weights_round() -> jax.Array:
        return weighted_mean(jax.vmap(_decoded)(section), num_samples)

    def codebook_round() -> jax.Array:
        if merge == "rank_mean":
            return codebook.snap(jnp.mean(section.centers, axis=0), own)
        return codebook.snap(codebook.union(jnp.asarray(section.centers)), own)

    return jax.lax.cond(exchange.clients_send_weights, weights_round, codebook_round)
