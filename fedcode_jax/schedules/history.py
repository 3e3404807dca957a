"""What a schedule remembers from round to round, and how it learns it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.schedules.signals import model_variance, moved

Number = Any
"""A number, traced or not."""


class Costs(NamedTuple):
    """Mean bits of a message, by direction and by whether it carries weights: f32[] each."""

    server_weights: Number = 0.0
    server_quiet: Number = 0.0
    clients_weights: Number = 0.0
    clients_quiet: Number = 0.0


class Memory(NamedTuple):
    """What a schedule remembers, whatever its rule.

    Attributes:
      server_paused: i32[], first round in which ``step_size`` lets the server send weights again.
      clients_paused: i32[], the same of the clients.
      averaged: bool[], the server holds an average of clients' weights that it has not sent out.
      signal: f32[], what ``drift`` holds against its threshold, as of the last round in which
        anything arrived.
      reference: f32[G], the server's centers when it last held a new average; G = 0 where nobody
        asks for them.
      spent_bits: f32[], of all messages so far.
      costs: of a message as last measured; at fixed width where none has been.
      newcomers: f32[], clients that were sent weights in rounds in which the others were not.
    """

    server_paused: jax.Array
    clients_paused: jax.Array
    averaged: jax.Array
    signal: jax.Array
    reference: jax.Array
    spent_bits: jax.Array
    costs: Costs
    newcomers: jax.Array


class Seen(NamedTuple):
    """What a schedule learns from a round of M clients.

    Attributes:
      received: bool[M], clients that received what they were sent.
      arrived: bool[M], of these, uploads that reached the server whole.
      server_weights: bool[M], the server's message to it carried weights.
      client_weights: bool[M], its upload carries weights.
      server_bits: f32[M], of the server's message to it.
      client_bits: f32[M], of its upload, as much as was sent.
      server_centers: f32[G], of the broadcast.
      client_centers: f32[M, G], of the uploads.
      sketches: f32[M, S], of the clients' weights, or None where they are not sent.
    """

    received: jax.Array
    arrived: jax.Array
    server_weights: jax.Array
    client_weights: jax.Array
    server_bits: jax.Array
    client_bits: jax.Array
    server_centers: jax.Array
    client_centers: jax.Array
    sketches: jax.Array | None = None


def forgotten(num_centers: int = 0, costs: Costs | None = None) -> Memory:
    """What a schedule remembers before the first round.

    Args:
      num_centers: G, centers that ``drift`` compares.
      costs: of messages at fixed width, as far as they are known.

    Returns:
      The memory.
    """
    costs = Costs(*(jnp.asarray(cost, jnp.float32) for cost in costs or Costs()))
    return Memory(
        server_paused=jnp.int32(0),
        clients_paused=jnp.int32(0),
        averaged=jnp.zeros((), bool),
        signal=jnp.float32(0),
        reference=jnp.zeros(num_centers, jnp.float32),
        spent_bits=jnp.float32(0),
        costs=costs,
        newcomers=jnp.float32(0),
    )


def remembered(
    memory: Memory,
    number: jax.Array,
    pauses: tuple[jax.Array, ...],
    sent: tuple[jax.Array, ...],
    seen: Seen,
) -> Memory:
    """The memory after a round.

    What did not come about is not taken for done. An average is sent out when a message of weights
    for all reached any client: those that it did not reach get on as those do that were not drawn,
    and to repeat it would cost the weights of all. Newcomers' weights are no such message. Clients
    have calibrated when weights of any arrived. In a round in which nobody was reached and nothing
    arrived, nothing is learnt.

    Args:
      memory: before it.
      number: i32[], the round, counted from 1.
      pauses: i32[] of the server and of the clients: rounds until weights may be sent again, if
        they were sent in this one.
      sent: bool[] of the server and of the clients: whether weights were to be sent.
      seen: what happened.

    Returns:
      The new memory.
    """
    centers = jnp.where(memory.averaged | (number == 1), seen.server_centers, memory.reference)
    sent_out, averaged = (
        sent[0] & jnp.any(seen.received),
        jnp.any(seen.arrived & seen.client_weights),
    )
    if seen.sketches is None:
        signal = moved(centers, seen.client_centers, seen.arrived)
    else:
        signal = model_variance(seen.sketches, seen.arrived)

    signal = jnp.where(jnp.any(seen.arrived), signal, memory.signal)

    def paused(before: jax.Array, pause: jax.Array, done: jax.Array) -> jax.Array:
        return jnp.where(done, number + pause, before)

    def cost(before: Number, bits: jax.Array, among: jax.Array) -> jax.Array:
        count = jnp.sum(among)
        mean = jnp.sum(jnp.where(among, bits, 0.0)) / jnp.maximum(count, 1)
        return jnp.where(count > 0, mean, before)

    received, arrived, costs = seen.received, seen.arrived, memory.costs
    return Memory(
        server_paused=paused(memory.server_paused, pauses[0], sent_out),
        clients_paused=paused(memory.clients_paused, pauses[1], sent[1] & averaged),
        averaged=averaged | (memory.averaged & ~sent_out),
        signal=jnp.where(averaged, 0.0, signal),
        reference=centers,
        spent_bits=memory.spent_bits + jnp.sum(seen.server_bits) + jnp.sum(seen.client_bits),
        costs=Costs(
            cost(costs.server_weights, seen.server_bits, received & seen.server_weights),
            cost(costs.server_quiet, seen.server_bits, received & ~seen.server_weights),
            cost(costs.clients_weights, seen.client_bits, arrived & seen.client_weights),
            cost(costs.clients_quiet, seen.client_bits, arrived & ~seen.client_weights),
        ),
        newcomers=memory.newcomers + jnp.sum(received & seen.server_weights & ~sent[0]),
    )
