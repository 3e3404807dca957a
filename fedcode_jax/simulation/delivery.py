"""Delivery: who is there in a round, what each is sent, what it costs, and what arrives.

A client is *present* unless it is away. It has *received* what it was sent if that came down before
the round ended; only then it trains, and only then its upload can have *arrived*. Everything else
follows these three: contact, what clients keep, references, bytes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import network, wire
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.network import Conditions
from fedcode_jax.schedules import Costs, Exchange
from fedcode_jax.simulation.state import NEVER, Settings
from fedcode_jax.wire import Coded, Message


class Post(NamedTuple):
    """What the server sends in a round of M clients.

    Attributes:
      message: the broadcast.
      whole: the message that brings any client up to date; None where the algorithm has none.
      common: what clients that are up to date held before the broadcast, or None.
      first: bool[M], clients that have received nothing yet.
      bits: u32[M], what each is sent, were it to come whole; where messages are coded given what
        a client holds, it is counted there, and this is 0.
      formula_bits: u32[M], the published count of the same; bits that were missed count as they
        were sent.
      is_whole: bool[M], clients that are sent ``whole`` in place of all that they missed.
    """

    message: Message
    whole: Message | None
    common: Any
    first: jax.Array
    bits: jax.Array
    formula_bits: jax.Array
    is_whole: jax.Array


def posted(
    algorithm: Algorithm,
    before: Any,
    server: Any,
    message: Message,
    missed: jax.Array,
    present: jax.Array,
) -> Post:
    """Addresses a broadcast to the clients of a round.

    Args:
      algorithm: whose broadcast it is.
      before: the server's state before it.
      server: the server's state after it.
      message: the broadcast.
      missed: u32[M], bits of the broadcasts that each client has missed, or ``NEVER``.
      present: bool[M], clients that are there.

    Returns:
      What each is sent: nothing to those that are away; to the others the broadcast, with weights
      in it if they have none yet; or, of an algorithm with a ``whole``, the shorter of that and all
      that they missed with the broadcast after it.
    """
    first = missed == NEVER
    if algorithm.common is None:
        conditional = wire.is_conditional(message)

        def sized(measure: Any) -> jax.Array:
            sizes = jax.vmap(lambda new: measure(wire.addressed(message, new)))(first)
            return jnp.where(present, sizes, 0)

        bits = jnp.zeros_like(missed) if conditional else sized(wire.size_bits)
        nobody = jnp.zeros_like(first)
        return Post(message, None, None, first, bits, sized(wire.formula_bits), nobody)
    assert algorithm.whole is not None
    whole = algorithm.whole(server)
    size = wire.size_bits(whole)
    behind = added(missed, wire.size_bits(message))
    is_whole = present & (size < behind)
    bits = jnp.where(is_whole, size, behind)
    formula = jnp.where(is_whole, wire.formula_bits(whole), missed + wire.formula_bits(message))
    bits, formula = (jnp.where(present, count, 0) for count in (bits, formula))
    return Post(message, whole, algorithm.common(before), first, bits, formula, is_whole)


def added(missed: jax.Array, bits: jax.Array) -> jax.Array:
    """Bits missed and one message more: ``NEVER`` if they were, or from there on."""
    return jnp.where(missed > NEVER - bits, NEVER, missed + bits)


def still_missed(
    algorithm: Algorithm,
    missed: jax.Array,
    clients: jax.Array,
    received: jax.Array,
    message: Message,
) -> jax.Array:
    """Bits that every client has missed after a round.

    Args:
      algorithm: whose broadcast it was.
      missed: u32[C], before the round.
      clients: i32[M], those of the round.
      received: bool[M], those of them that received what they were sent.
      message: the broadcast.

    Returns:
      u32[C].
    """
    if algorithm.common is not None:
        missed = added(missed, wire.size_bits(message))
    return missed.at[clients].set(jnp.where(received, 0, missed[clients]))


def asked_for_weights(
    algorithm: Algorithm,
    post: Post,
    exchange: Exchange,
    settings: Settings,
    costs: Costs,
    met: Conditions,
    samples: jax.Array,
) -> jax.Array:
    """Which clients are asked for weights in this round.

    If the run's schedule says ``in_time``, a client that cannot hope to deliver weights by the
    deadline is asked for its codebook, or for nothing, whoever wants weights in this round.

    Args:
      algorithm: whose round it is.
      post: what they are sent.
      exchange: whether weights are wanted.
      settings: of the run.
      costs: of a message, as the schedule remembers them.
      met: what the clients meet with.
      samples: [M], that each trains on.

    Returns:
      bool[M].
    """
    carries = wire.carries_values(post.message.kind) | post.first
    down = jnp.where(carries, costs.server_weights, costs.server_quiet)
    up = jnp.full(down.shape, costs.clients_weights)
    fits = fits_codebooks(algorithm, post.message)
    hopes = network.deliverable(met, settings.links.deadline, down, up, samples, fits)
    in_time = jnp.asarray(settings.schedule.settings.in_time)
    return exchange.clients_send_weights & (hopes | ~in_time)


def fits_codebooks(algorithm: Algorithm, message: Message) -> bool:
    """Whether clients fit codebooks to send such a message."""
    if algorithm.fits_codebooks is not None:
        return algorithm.fits_codebooks
    leaves = jax.tree.leaves(message.sections, is_leaf=lambda node: isinstance(node, Coded))
    return any(isinstance(leaf, Coded) for leaf in leaves)


def partly(bits: jax.Array, share: jax.Array, *, unit: int = 8) -> jax.Array:
    """A share of bits in whole bytes, all of them exactly where the share is 1.

    Args:
      bits: u32[M].
      share: f32[M], from 0 to 1.
      unit: bits that are counted whole; 8 for bytes.

    Returns:
      u32[M].

    Example:
      >>> partly(jnp.uint32([800, 800]), jnp.float32([1.0, 0.5])).tolist()
      [800, 400]
    """
    part = jnp.floor(bits.astype(jnp.float32) * share / unit).astype(jnp.uint32) * unit
    return jnp.where(share >= 1, bits, jnp.minimum(part, bits))
