"""LBGM: a change that is nearly parallel to one sent before goes up as a single number."""

import dataclasses

import jax
import jax.numpy as jnp

from fedcode_jax import schedules
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms import drift
from fedcode_jax.algorithms.base import Algorithm, Start, Work, one
from fedcode_jax.algorithms.combining import combined_moves
from fedcode_jax.algorithms.drift import Client
from fedcode_jax.algorithms.fedavg import FloatServer
from fedcode_jax.algorithms.layout import Weights
from fedcode_jax.limits import check_real
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Dense, Kind, Message, carries_values


# Long: a closure for each verb, each of them short.
def lbgm(threshold: float = 0.2, aggregation: Aggregation | None = None) -> Algorithm:
    """LBGM: clients send a multiple of the last change that they sent in full, where that will do.

    With g_i the change of client i, and L_i the last one of its that arrived in full, which the
    server holds too; 0 at first:

        rho_i = <g_i, L_i> / |L_i|^2,   error_i = 1 - <g_i, L_i>^2 / (|g_i| |L_i|)^2
        if error_i <= threshold:  send rho_i,  d_i = rho_i L_i
        else:                     send g_i,    d_i = g_i,  L_i <- g_i
        w <- w + sum_i N_i d_i / sum_i N_i

    L_i changes when it is sent, and so never drifts away from what the server holds. All that is
    trained is one vector. A message in full carries rho_i too, which nobody reads. Running
    statistics go with every message, as floats, and are averaged.

    Args:
      threshold: the largest error, the squared sine of the angle between g_i and L_i, at which a
        number is sent; 0 to 1. The authors' is 0.2 in most of their runs.
      aggregation: the rule that is given d_i in place of their mean; None for that. Not one that is
        ``random``.

    Returns:
      The algorithm; weights go down as floats, and both a client and, for each client, the server
      keep L_i, 4 bytes a trained value.

    Raises:
      ConfigError: a ``threshold`` that is not allowed.

    Source: Azam et al., arXiv 2202.00280, algorithm 1.

    Example:
      >>> from fedcode_jax.wire import size_bits
      >>> algorithm, sends = lbgm(0.2), schedules.always()(1)
      >>> _, store = algorithm.init({"params": {"kernel": jnp.zeros(2)}}, 1)
      >>> stored = jax.tree.map(lambda leaf: leaf[0], store)
      >>> for change in ([4.0, 0.0], [2.0, 0.5]):
      ...     trained = {"params": {"kernel": jnp.array(change)}}
      ...     work = Work(Start({"params": {"kernel": jnp.zeros(2)}}), trained, 1, 0.1, 0.0)
      ...     message, _ = algorithm.upload(stored, work, sends, jax.random.key(0))
      ...     read, stored = algorithm.heard(stored, message)
      ...     print(int(size_bits(message)) // 8, read.sections[0].values.tolist())
      31 [4.0, 0.0]
      18 [2.0, 0.0]
    """
    check_real("algorithm.threshold", threshold, 0, 1)

    def init(weights: Weights, num_clients: int) -> tuple[FloatServer, Client]:
        _, store = drift.init(weights, num_clients)
        return FloatServer(weights), store

    def broadcast(
        server: FloatServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, FloatServer]:
        vectors = drift.layout_of(server.weights).split(server.weights)
        return drift.message_of(Kind.WEIGHTS, vectors), server

    def receive(stored: Client, message: Message, common: None) -> Start:
        return Start(stored.layout.join(drift.vectors_of(message)))

    def upload(
        stored: Client, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, Client]:
        change, *others = drift.change_of(stored.layout, work)
        rho, error = look_back(change, stored.vector)
        full = jnp.where(exchange.clients_send_weights, jnp.int32(Kind.UPDATE), Kind.NOTHING)
        kind = jnp.where(error <= threshold, jnp.int32(Kind.CODEBOOK), full)
        small = (rho[None], *others)
        sections = (Dense(change), *(Dense(vector, always=True) for vector in small))
        return Message(kind, sections), stored

    def heard(stored: Client, message: Message) -> tuple[Message, Client]:
        first, *small = message.sections
        rho, latest = jnp.asarray(small[0].values), stored.vector
        full = carries_values(message.kind)
        change = jnp.where(full, first.values, rho * latest)
        latest = jnp.where(full, first.values, latest)
        read = Message(jnp.int32(Kind.UPDATE), (Dense(change), *small))
        return read, dataclasses.replace(stored, vector=latest)

    def restarted(stored: Client) -> Client:
        return dataclasses.replace(stored, vector=jnp.zeros_like(stored.vector))

    def aggregate(
        server: FloatServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> FloatServer:
        layout, samples = drift.layout_of(server.weights), drift.counted(messages, num_samples)
        change, _, *others = drift.vectors_of(messages)
        held = layout.split(server.weights)
        found = combined_moves(aggregation, (change, *others), samples)
        vectors = [own + move for own, move in zip(held, found, strict=True)]
        return FloatServer(layout.join(vectors))

    def report(server: FloatServer, store: Client) -> tuple[Weights, None]:
        return one(server.weights), None

    return Algorithm(
        *(init, broadcast, receive, upload, aggregate, report),
        schedule=schedules.always(),
        heard=heard,
        restarted=restarted,
    )


def look_back(change: jax.Array, latest: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The multiple of one vector that is nearest to another, and how far off that is.

    Args:
      change: f32[n], g.
      latest: f32[n], L; all 0 where there is none.

    Returns:
      rho f32[], <g, L> / |L|^2, or 0 without an L; and the error f32[], |g - rho L|^2 / |g|^2:
      infinite without an L, or if rho is; else 0 for a g of 0.

    Example:
      >>> [float(x) for x in look_back(jnp.array([3.0, 4.0]), jnp.array([2.0, 0.0]))]
      [1.5, 0.6399999856948853]
    """
    # In shares of their largest values, whose squares neither vanish nor overflow.
    (g, size), (latest, latest_size) = map(_shares, (change, latest))
    there, product, square = latest_size > 0, jnp.sum(g * latest), jnp.sum(latest**2)
    rho = jnp.where(there, product / jnp.where(there, square, 1) * (size / latest_size), 0.0)
    cosine = product / jnp.where(there & (size > 0), jnp.sqrt(square * jnp.sum(g**2)), 1)
    error = jnp.where(size > 0, 1 - cosine**2, 0.0)
    return rho, jnp.where(there & jnp.isfinite(rho), error, jnp.inf)


def _shares(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
    largest = jnp.max(jnp.abs(vector))
    return vector / jnp.where(largest > 0, largest, 1), largest
