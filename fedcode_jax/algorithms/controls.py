"""Controls of FedCode: what a claim about it is measured against."""

import dataclasses

import jax
import jax.numpy as jnp

from fedcode_jax import schedules
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms.base import Algorithm, Work
from fedcode_jax.algorithms.fedcode import CodedClient, CodedServer, fedcode
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Kind, Message


def skip(
    num_clusters: int = 64,
    groups: str = "kernels",
    coding: str = "fixed",
    block: int = 1,
    rate_weight: float = 0.0,
    aggregation: Aggregation | None = None,
) -> Algorithm:
    """FedCode with nothing at all sent in its codebook rounds.

    The same schedule, the same weights messages, the same K-valued clients; in a codebook
    round a client goes on from its own stored weights, and the server keeps its w. What
    FedCode does better than this is what its codebooks are worth.

    Args:
      num_clusters: K, as of ``fedcode``.
      groups: as of ``fedcode``.
      coding: as of ``fedcode``.
      block: as of ``fedcode``.
      rate_weight: as of ``fedcode``.
      aggregation: as of ``fedcode``.

    Returns:
      The algorithm.

    Raises:
      ConfigError: a setting that is not allowed.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from fedcode_jax import schedules, wire
      >>> algorithm = skip(num_clusters=2)
      >>> server, _ = algorithm.init({"kernel": jnp.arange(8.0)}, 3)
      >>> message, _ = algorithm.broadcast(server, schedules.periodic()(3), jax.random.key(0))
      >>> int(wire.size_bits(message))
      0
    """
    base = fedcode(
        *(num_clusters, groups),
        coding=coding,
        block=block,
        rate_weight=rate_weight,
        aggregation=aggregation,
    )

    def silent(message: Message) -> Message:
        nothing = message.kind == Kind.CODEBOOK
        return dataclasses.replace(
            message, kind=jnp.where(nothing, jnp.int32(Kind.NOTHING), message.kind)
        )

    def broadcast(
        server: CodedServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, CodedServer]:
        message, server = base.broadcast(server, exchange, key)
        return silent(message), server

    def upload(
        stored: CodedClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, CodedClient]:
        message, stored = base.upload(stored, work, exchange, key)
        return silent(message), stored

    return base._replace(broadcast=broadcast, upload=upload)


def weight_clustering(
    num_clusters: int = 64,
    groups: str = "kernels",
    coding: str = "fixed",
    block: int = 1,
    rate_weight: float = 0.0,
    aggregation: Aggregation | None = None,
) -> Algorithm:
    """FedAvg on clustered weights: FedCode with f1 = f2 = 1, a weights round every round.

    Args:
      num_clusters: K, as of ``fedcode``.
      groups: as of ``fedcode``.
      coding: as of ``fedcode``.
      block: as of ``fedcode``.
      rate_weight: as of ``fedcode``.
      aggregation: as of ``fedcode``.

    Returns:
      The algorithm.

    Raises:
      ConfigError: a setting that is not allowed.

    Example:
      >>> bool(weight_clustering().schedule(3).server_sends_weights)
      True
    """
    base = fedcode(
        *(num_clusters, groups),
        coding=coding,
        block=block,
        rate_weight=rate_weight,
        aggregation=aggregation,
    )
    return base._replace(schedule=schedules.always())
