"""What methods against client drift have in common: vectors of what is trained, sent as floats."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms.base import Work, one
from fedcode_jax.algorithms.groups import KINDS, Group
from fedcode_jax.algorithms.layout import Layout, Weights, trainable
from fedcode_jax.wire import Dense, Kind, Message, carries_values

Vectors = tuple[jax.Array, ...]
"""Of a model: what is trained, and its running statistics if it has any."""


class Server(NamedTuple):
    """The weights; a vector f32[n], of what is trained; and f32[], how many clients there are."""

    weights: Weights
    vector: jax.Array
    clients: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Client:
    """What a client keeps: a vector f32[n], of what is trained."""

    vector: jax.Array
    layout: Layout = dataclasses.field(metadata={"static": True})

    def plus(self, change: jax.Array) -> "Client":
        """With something added to the vector."""
        return dataclasses.replace(self, vector=self.vector + change)


def init(weights: Weights, num_clients: int) -> tuple[Server, Client]:
    """Vectors of zeros, of the server and of all clients."""
    layout = layout_of(weights)
    zero = jnp.zeros_like(layout.split(weights)[0])
    store = Client(jnp.tile(zero, (num_clients, 1)), layout)
    return Server(weights, zero, jnp.float32(num_clients)), store


def report(server: Server, store: Client) -> tuple[Weights, None]:
    """The server's weights, which are what clients would receive."""
    return one(server.weights), None


def layout_of(weights: Weights) -> Layout:
    """What is trained in the first vector, running statistics in the second."""
    trained = tuple(kind for kind in KINDS if kind != "stats")
    return Layout.of(weights, [Group(trained, "dense"), Group(("stats",), "dense")])


def tree_of(layout: Layout, trained: jax.Array) -> Weights:
    """The params of a vector of what is trained."""
    others = [jnp.zeros(sum(sizes)) for sizes in layout.sizes[1:]]
    return trainable(layout.join((trained, *others)))


def message_of(kind: Kind, vectors: Sequence[jax.Array]) -> Message:
    """Vectors as floats."""
    return Message(jnp.int32(kind), tuple(map(Dense, vectors)))


def vectors_of(message: Message) -> Vectors:
    """What the sections of a message of floats hold."""
    return tuple(jnp.asarray(section.values) for section in message.sections)


def change_of(layout: Layout, work: Work) -> Vectors:
    """What local training changed."""
    ends, starts = layout.split(work.trained), layout.split(work.start.weights)
    return tuple(end - start for end, start in zip(ends, starts, strict=True))


def counted(messages: Message, num_samples: jax.Array) -> jax.Array:
    """Sample counts f32[M], 0 for those of whom nothing arrived."""
    return jnp.where(carries_values(messages.kind), num_samples, 0.0)
