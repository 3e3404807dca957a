"""FedBiF: clients train one bit of every weight, the others frozen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import randomness, schedules, wire
from fedcode_jax.algorithms.base import (
    Algorithm,
    At,
    Objective,
    Start,
    Work,
    mean_of_clients,
    one,
)
from fedcode_jax.algorithms.kernels import kernels_of, layout_of, straight_through, with_kernels
from fedcode_jax.algorithms.layout import Layout, Weights, trainable
from fedcode_jax.algorithms.portable import Portable
from fedcode_jax.algorithms.updates import UpdatesClient
from fedcode_jax.limits import check_whole
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Bits, Coded, Dense, Kind, Message, Section

VIRTUAL = 1e-3
"""Of a virtual bit of the lowest plane, how far from 0 it begins at most."""


class BitServer(NamedTuple):
    """What the server keeps.

    Attributes:
      weights: its own w, real.
      levels: u8[n] of each kernel, as it was last sent.
      alphas: f32[G], their steps.
      plane: i32[], which bit clients then trained.
    """

    weights: Weights
    levels: tuple[jax.Array, ...]
    alphas: jax.Array
    plane: jax.Array


class Held(NamedTuple):
    """What the objective and the upload of a client are given; of each of the G kernels.

    Attributes:
      kernels: as they were received.
      virtual: of their shapes, the virtual bits to begin with.
      steps: f32[G], by which a value changes with its bit.
    """

    kernels: tuple[jax.Array, ...]
    virtual: tuple[jax.Array, ...]
    steps: jax.Array


# Long: a closure for each verb, each of them short.
@randomness.standard_parts
def fedbif(bits: int = 3) -> Algorithm:
    """FedBiF: weights of m bits, of which clients train one bit plane a round, in turn.

    Of each kernel w of the server, with u uniform in [0, 1), and plane b = m - 1 in the first
    round, then m - 2, ..., 0, and m - 1 again:

    1. The server quantises to levels l = floor((w + r) / alpha + u), kept in 0 .. 2^m - 1, where
       r = max |w| and alpha = r / 2^(m-1), and sends l, alpha and b. A client reads alpha l - r.
    2. The active bit of each value becomes a virtual one, v = 2^b 10^-3 (1 - u) where it is 1, and
       minus that where it is 0. It is trained, the other bits are frozen: the value is

           frozen + 2^b alpha [v > 0]

       and the gradient to v is that to the value. Clients send the bits [v > 0].
    3. The server's new value is that of the frozen bits and 2^b alpha times the mean bit.

    From the paper's abstract are the quantised broadcast, the one trained bit and the one bit sent;
    r, alpha, u, the order of planes, the virtual bits and their gradient are from a copy of the
    authors' program that others made public. Ours are: means by samples; an r of 10^-3 at least, so
    that a kernel of zeros can be trained; and that the virtual bits of a round follow from a seed
    in its broadcast. Weight decay acts on values, not on virtual bits.

    Biases and norms are trained and averaged as floats, running statistics averaged.

    Args:
      bits: m, 2 to 8.

    Returns:
      The algorithm; up goes 1 bit a value, down m and 32 a kernel. Clients keep nothing.

    Raises:
      ConfigError: ``bits`` that are not allowed; a model without kernels.

    Source: Li et al., arXiv 2509.10161.

    Example:
      >>> algorithm = fedbif()
      >>> server, _ = algorithm.init({"params": {"kernel": jnp.array([-1.0, 0.0, 0.5])}}, 10)
      >>> message, after = algorithm.broadcast(server, algorithm.schedule(1), jax.random.key(0))
      >>> after.levels[0].tolist(), int(after.plane), message.sections[0].bits.shape
      ([0, 4, 6], 2, (9,))
    """
    check_whole("algorithm.bits", bits, 2, 8)

    def init(weights: Weights, num_clients: int) -> tuple[BitServer, UpdatesClient]:
        layout, kernels = layout_of(weights), kernels_of(trainable(weights))
        levels = tuple(jnp.zeros(kernel.size, jnp.uint8) for kernel in kernels)
        server = BitServer(weights, levels, jnp.zeros(len(kernels)), jnp.int32(0))
        return server, UpdatesClient((), (), layout)

    def broadcast(
        server: BitServer, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, BitServer]:
        vectors, plane = layout_of(server.weights).split(server.weights), (server.plane - 1) % bits
        number = len(server.levels)
        sent = [
            quantised(vector, bits, jax.random.uniform(jax.random.fold_in(key, g), vector.shape))
            for g, vector in enumerate(vectors[:number])
        ]
        levels, alphas = tuple(level for level, _ in sent), jnp.stack([alpha for _, alpha in sent])
        seed = jax.random.bits(jax.random.fold_in(key, number)) >> 8  # so short that a float has it
        head = jnp.concatenate([alphas, jnp.stack([plane, seed]).astype(jnp.float32)])
        planes = [Bits(_planes(level, bits)) for level in levels]
        message = Message(
            jnp.int32(Kind.WEIGHTS), (*planes, *map(Dense, vectors[number:]), Dense(head))
        )
        return message, BitServer(server.weights, levels, alphas, plane)

    def read(layout: Layout, message: Message) -> tuple[Weights, list, jax.Array, tuple]:
        """What a broadcast says: weights, levels, alphas, and (plane, seed)."""
        *sections, last = message.sections
        head = jnp.asarray(last.values)
        alphas, number = head[:-2], head.shape[0] - 2
        levels = [_levels(section, bits) for section in sections[:number]]
        vectors = [_value(level, alphas[g], bits) for g, level in enumerate(levels)]
        vectors += [jnp.asarray(section.values) for section in sections[number:]]
        plane, seed = head[-2].astype(jnp.int32), head[-1].astype(jnp.uint32)
        return layout.join(vectors), levels, alphas, (plane, seed)

    def receive(stored: UpdatesClient, message: Message, common: None) -> Start:
        weights, levels, alphas, (plane, seed) = read(stored.layout, message)
        kernels, virtual, size = kernels_of(trainable(weights)), [], _weight(plane)
        for g, (kernel, level) in enumerate(zip(kernels, levels, strict=True)):
            uniform = jax.random.uniform(jax.random.fold_in(randomness.key(seed), g), kernel.shape)
            sign = 2.0 * _bit(level, plane).reshape(kernel.shape) - 1
            virtual.append(sign * (size * VIRTUAL * (1 - uniform)))
        return Start(weights, Held(kernels, tuple(virtual), size * alphas))

    def view(params: Weights, held: Held, at: At, key: jax.Array) -> Weights:
        kernels = []
        for p, w, v, step in zip(kernels_of(params), *held, strict=True):
            turned = _active(p, w, v).astype(jnp.float32) - (v > 0)
            kernels.append(straight_through(w + turned * step, p))
        return with_kernels(params, kernels)

    def upload(
        stored: UpdatesClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, UpdatesClient]:
        held, trained = work.start.carried, kernels_of(trainable(work.trained))
        found = map(_active, trained, held.kernels, held.virtual)
        planes = [Bits(jnp.ravel(bit).astype(jnp.uint8)) for bit in found]
        rest = stored.layout.split(work.trained)[len(planes) :]
        kind = jnp.where(exchange.clients_send_weights, jnp.int32(Kind.UPDATE), Kind.NOTHING)
        return Message(kind, (*planes, *map(Dense, rest))), stored

    def aggregate(
        server: BitServer, messages: Message, num_samples: jax.Array, exchange: Exchange
    ) -> BitServer:
        counted = jnp.where(wire.carries_values(messages.kind), num_samples, 0.0)
        vectors = [mean_of_clients(wire.values, each, counted) for each in messages.sections]
        for g, level in enumerate(server.levels):
            active = _bit(level, server.plane)
            level = level + _weight(server.plane) * (vectors[g] - active)
            vectors[g] = _value(level, server.alphas[g], bits)
        weights = layout_of(server.weights).join(vectors)
        anybody = jnp.any(counted > 0)
        keep = lambda old, new: jnp.where(anybody, new, old)  # noqa: E731
        return server._replace(weights=jax.tree.map(keep, server.weights, weights))

    def report(server: BitServer, store: UpdatesClient) -> tuple[Weights, Weights]:
        message, _ = broadcast(server, schedules.always()(1), randomness.key(0))
        return one(server.weights), one(read(store.layout, message)[0])

    def portable(server: BitServer) -> Portable:
        message, _ = broadcast(server, schedules.always()(1), randomness.key(0))
        layout = layout_of(server.weights)
        _, levels, alphas, _ = read(layout, message)
        grid = jnp.arange(2**bits)
        kernels = [Coded(_value(grid, alphas[g], bits), codes) for g, codes in enumerate(levels)]
        return Portable((*kernels, *message.sections[len(levels) : -1]), layout)

    return Algorithm(
        *(init, broadcast, receive, upload, aggregate, report),
        schedule=schedules.always(),
        objective=Objective(view=view),
        portable=portable,
    )


def quantised(vector: jax.Array, bits: int, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The levels of a kernel and their step, as of ``fedbif``.

    Args:
      vector: f32[n], w.
      bits: m.
      uniform: f32[n], u, in [0, 1).

    Returns:
      u8[n], l, and f32[], alpha.

    Example:
      >>> levels, alpha = quantised(jnp.array([-2.0, 0.3, 2.0]), 2, jnp.array([0.9, 0.6, 0.0]))
      >>> levels.tolist(), float(alpha)
      ([0, 2, 3], 1.0)
    """
    largest = jnp.maximum(jnp.max(jnp.abs(vector)), 1e-3)
    alpha = largest / 2 ** (bits - 1)
    levels = jnp.clip(jnp.floor((vector + largest) / alpha + uniform), 0, 2**bits - 1)
    return levels.astype(jnp.uint8), alpha


def _value(levels: jax.Array, alpha: jax.Array, bits: int) -> jax.Array:
    return alpha * (levels.astype(jnp.float32) - 2 ** (bits - 1))


def _weight(plane: jax.Array) -> jax.Array:
    return jnp.left_shift(1, plane).astype(jnp.float32)


def _bit(levels: jax.Array, plane: jax.Array) -> jax.Array:
    return ((levels >> plane.astype(jnp.uint8)) & 1).astype(jnp.float32)


def _planes(levels: jax.Array, bits: int) -> jax.Array:
    """u8[m n]: all lowest bits, then all of the next plane, and so on."""
    return ((levels >> jnp.arange(bits, dtype=jnp.uint8)[:, None]) & 1).ravel()


def _levels(section: Section, bits: int) -> jax.Array:
    """The inverse of ``_planes``."""
    assert isinstance(section, Bits)
    planes = jnp.asarray(section.bits).reshape(bits, -1)
    shifted = planes << jnp.arange(bits, dtype=jnp.uint8)[:, None]
    return jnp.sum(shifted, axis=0, dtype=jnp.uint8)


def _active(p: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
    """The active bits bool[...] of values that began at w, with virtual bits v, and are at p."""
    return v + (p - w) > 0
