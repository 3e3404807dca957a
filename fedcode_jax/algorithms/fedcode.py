"""FedCode: codebooks in most rounds, codebooks and codes in calibration rounds."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import codebook
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms.base import Algorithm, Start, Work, mean_of_clients, one, weighted_mean
from fedcode_jax.algorithms.combining import combined_moves, first_key, is_heard, key_of
from fedcode_jax.algorithms.groups import FLOATS, keeps_any, parse
from fedcode_jax.algorithms.layout import Layout, Weights
from fedcode_jax.algorithms.portable import Portable
from fedcode_jax.compress.coded_group import Coder
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Array, Coded, Dense, Kind, Message

MERGES = ("union", "rank_mean")


class CodedServer(NamedTuple):
    """What the server keeps.

    Attributes:
      weights: its own w: un-clustered, what a codebook round snaps.
      sections: w as it will be sent, fitted once for the next broadcast and the report.
      key: data of the key of this round's aggregation; None where that needs none.
    """

    weights: Weights
    sections: tuple[Coded | Dense, ...]
    key: jax.Array | None = None


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


# Long: a closure for each verb, each of them short.
def fedcode(
    num_clusters: int = 64,
    groups: str = "kernels",
    merge: str = "union",
    coding: str = "fixed",
    block: int = 1,
    rate_weight: float = 0.0,
    aggregation: Aggregation | None = None,
) -> Algorithm:
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
    5. Aggregate. Weights round: w = sum_i N_i decode(c_i, codes_i) / sum_i N_i over the clients
       whose weights arrived. Codebook round: w = snap(merge of the c_i that arrived, the server's
       previous w). If some clients sent weights and others codebooks, the weights alone count; if
       nothing arrived, w stays.
    6. Report. The server's w, and ``deployed``: the K-valued model that clients would
       receive.

    Dense groups are sent as floats in weights rounds and kept by both sides otherwise; local groups
    are never sent: clients keep theirs, which ``personal`` joins to w, the server the first ones.

    Args:
      num_clusters: K, centers of a codebook, 1 to 65,536.
      groups: which variables share a codebook, as ``groups.parse`` reads it.
      merge: how the server merges the codebooks of a codebook round: ``union``, all M K
        centers (the paper); or ``rank_mean``, the mean over the clients of the centers of
        equal rank (the 1-D Wasserstein barycenter of the codebooks with equal masses).
      coding: how codes are written: ``fixed`` (the paper), ceil(log2 K) bits each;
        ``entropy``, by their frequencies; ``adaptive``, by those learnt on the way, layer by
        layer; ``conditional``, given the codes that both sides hold from the last weights
        message between them. None of these changes what the codes are.
      block: B, consecutive values that share a code; 1 in the paper.
      rate_weight: above 0, codebooks minimise squared error + lambda x code length instead of
        the error alone, lambda being this times the variance of the group; how many of the K
        centers are in use follows.
      aggregation: the rule that in a weights round takes the place of the mean, given what the
        clients' values, of all groups that are sent, are more than w; None for the mean by samples.
        Codebook rounds merge codebooks whatever it is; and so a rule that is ``random``, which is
        heard in every round, is for ``weight_clustering`` alone.

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
    coder = Coder(num_clusters, coding, block, rate_weight)
    check_name("algorithm.merge", merge, MERGES)
    if merge == "rank_mean" and (block > 1 or rate_weight > 0):
        raise ConfigError(
            f"algorithm.merge: {merge} needs codebooks whose centers have equal ranks; use union "
            "with algorithm.block above 1 or algorithm.rate_weight above 0"
        )
    parsed = parse(groups)

    def section_of(policy: str, vector: jax.Array, sizes: tuple[int, ...]) -> Coded | Dense:
        if policy == "coded":
            return coder.encode(vector, sizes)
        return Dense.rounded(vector, FLOATS[policy])

    def sections_of(layout: Layout, weights: Weights) -> tuple[Coded | Dense, ...]:
        parts = zip(layout.policies, layout.split(weights), layout.sizes, strict=True)
        return tuple(section_of(p, v, n) for p, v, n in parts if p != "local")

    def kind_of(sends_weights: jax.Array) -> jax.Array:
        return jnp.where(sends_weights, jnp.int32(Kind.WEIGHTS), jnp.int32(Kind.CODEBOOK))

    def received(
        own: Coded | jax.Array, section: Coded | Dense | None, kind: Array, size: int
    ) -> jax.Array:
        """The values of one group that a client starts from."""
        if isinstance(section, Coded):
            assert isinstance(own, Coded)
            options = (
                lambda: coder.decode(section, size),
                lambda: coder.snap(section, own, size),
                lambda: coder.decode(own, size),
            )
            case = jnp.select([kind == Kind.WEIGHTS, kind == Kind.CODEBOOK], [0, 1], 2)
            return jax.lax.switch(case, options)
        assert not isinstance(own, Coded)
        return own if section is None else jnp.where(kind == Kind.WEIGHTS, section.values, own)

    def aggregated(
        own: jax.Array,
        section: Coded | Dense,
        kinds: Array,
        num_samples: jax.Array,
        move: jax.Array | None,
    ) -> jax.Array:
        """The server's new values of one group, by its move in a weights round if that is known."""
        counted = jnp.where(kinds == Kind.WEIGHTS, num_samples, 0.0)
        if isinstance(section, Dense) and move is not None:
            return own + move
        if isinstance(section, Dense):
            mean = weighted_mean(section.values, counted)
            return jnp.where(jnp.any(counted > 0), mean, own)
        came = kinds == Kind.CODEBOOK

        def weights_round() -> jax.Array:
            if move is not None:
                return own + move
            return mean_of_clients(lambda one: coder.decode(one, own.size), section, counted)

        def codebook_round() -> jax.Array:
            centers = jnp.asarray(section.centers)
            if merge == "rank_mean":
                return codebook.snap(weighted_mean(centers, came.astype(jnp.float32)), own)
            # A center that is there twice changes nothing, so one codebook stands in for those
            # that did not come.
            chosen = came.reshape(came.shape + (1,) * (centers.ndim - 1))
            centers = jnp.where(chosen, centers, centers[jnp.argmax(came)])
            return codebook.snap(codebook.union(centers), own)

        case = jnp.where(is_heard(aggregation, counted), 2, jnp.any(came).astype(jnp.int32))
        return jax.lax.switch(case, (lambda: own, codebook_round, weights_round))

    def moves_of(
        server: CodedServer, layout: Layout, messages: Message, num_samples: jax.Array
    ) -> tuple[jax.Array, ...]:
        """What the rule makes of the weights that arrived, of each group that is sent."""
        assert aggregation is not None
        counted = jnp.where(messages.kind == Kind.WEIGHTS, num_samples, 0.0)
        parts = zip(layout.policies, layout.split(server.weights), strict=True)
        held = [vector for policy, vector in parts if policy != "local"]

        def decoded(section: Coded | Dense, size: int) -> jax.Array:
            return coder.decode(section, size) if isinstance(section, Coded) else section.values

        def by_rule() -> tuple[jax.Array, ...]:
            moves = tuple(
                jax.vmap(lambda one, size=own.size: decoded(one, size))(section) - own
                for section, own in zip(messages.sections, held, strict=True)
            )
            return combined_moves(aggregation, moves, counted, server.key)

        nothing = lambda: tuple(map(jnp.zeros_like, held))  # noqa: E731
        return jax.lax.cond(is_heard(aggregation, counted), by_rule, nothing)

    def init(weights: Weights, num_clients: int) -> tuple[CodedServer, CodedClient]:
        layout = Layout.of(weights, parsed)

        def kept(policy: str, vector: jax.Array) -> Coded | jax.Array:
            if policy == "coded":
                return coder.empty(vector.size, num_clients)
            return jnp.tile(vector, (num_clients, 1))

        parts = zip(layout.policies, layout.split(weights), strict=True)
        sections = sections_of(layout, weights)
        server = CodedServer(weights, sections, first_key(aggregation))
        return server, CodedClient(tuple(kept(p, v) for p, v in parts), layout)

    def broadcast(
        server: CodedServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, CodedServer]:
        server = server._replace(key=key_of(aggregation, key))
        return Message(kind_of(exchange.server_sends_weights), server.sections), server

    def receive(stored: CodedClient, message: Message, common: None) -> Start:
        sections = iter(message.sections)
        vectors = []
        layout = stored.layout
        for policy, own, sizes in zip(layout.policies, stored.parts, layout.sizes, strict=True):
            section = None if policy == "local" else next(sections)
            vectors.append(received(own, section, message.kind, sum(sizes)))
        return Start(layout.join(vectors))

    def upload(
        stored: CodedClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, CodedClient]:
        sections = sections_of(stored.layout, work.trained)
        coded = iter([section for section in sections if isinstance(section, Coded)])
        parts = zip(stored.layout.policies, stored.layout.split(work.trained), strict=True)
        kept = tuple(
            _kept(next(coded)) if policy == "coded" else vector for policy, vector in parts
        )
        message = Message(kind_of(exchange.clients_send_weights), sections)
        return message, dataclasses.replace(stored, parts=kept)

    def aggregate(
        server: CodedServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> CodedServer:
        layout = Layout.of(server.weights, parsed)
        sections, moves = iter(messages.sections), itertools.repeat(None)
        if aggregation is not None:
            moves = iter(moves_of(server, layout, messages, num_samples))
        vectors = []
        for policy, own in zip(layout.policies, layout.split(server.weights), strict=True):
            if policy == "local":
                vectors.append(own)
            else:
                section = next(sections)
                kinds, move = messages.kind, next(moves)
                vectors.append(aggregated(own, section, kinds, num_samples, move))
        weights = layout.join(vectors)
        return CodedServer(weights, sections_of(layout, weights), server.key)

    def report(server: CodedServer, store: CodedClient) -> tuple[Weights, Weights]:
        return one(server.weights), one(portable(server).weights)

    def portable(server: CodedServer) -> Portable:
        layout, sections = Layout.of(server.weights, parsed), iter(server.sections)
        parts = zip(layout.policies, layout.split(server.weights), strict=True)
        return Portable(
            tuple(Dense(w) if p == "local" else next(sections) for p, w in parts), layout
        )

    def personal(server: CodedServer, stored: CodedClient) -> Weights:
        shared, policies = stored.layout.split(server.weights), stored.layout.policies
        parts: Any = zip(policies, shared, stored.parts, strict=True)
        return stored.layout.join([own if p == "local" else w for p, w, own in parts])

    own = personal if keeps_any(parsed) else None
    return Algorithm(
        *(init, broadcast, receive, upload, aggregate, report), personal=own, portable=portable
    )


def _kept(section: Coded) -> Coded:
    """A section as a client keeps it: centers and codes, however they were written."""
    return Coded(section.centers, section.codes)
