"""Top-k with error feedback (Stich et al., arXiv 1809.07599), for models without statistics."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fedcode_jax import schedules, wire
from fedcode_jax.algorithms import Algorithm, Start
from fedcode_jax.wire import Dense, Kind, Message, Sparse


def topk_feedback(fraction=0.05):
    """Of u = update + residual clients send the largest values; the rest is the next residual."""

    def init(weights, num_clients):
        residuals = jax.tree.map(lambda w: jnp.zeros((num_clients, *w.shape)), weights)
        return weights, residuals

    def broadcast(weights, exchange, key):
        return Message(jnp.int32(Kind.WEIGHTS), (Dense(ravel_pytree(weights)[0]),)), weights

    def receive(residual, message, common):
        return Start(ravel_pytree(residual)[1](message.sections[0].values))

    def upload(residual, work, exchange, key):
        update = jax.tree.map(jnp.subtract, work.trained, work.start.weights)
        total, unravel = ravel_pytree(jax.tree.map(jnp.add, update, residual))
        _, largest = jax.lax.top_k(jnp.abs(total), max(1, round(fraction * total.size)))
        positions = jnp.sort(largest).astype(jnp.int32)
        section = Sparse(positions, Dense(total[positions]), total.size)
        return Message(jnp.int32(Kind.UPDATE), (section,)), unravel(total.at[positions].set(0))

    def aggregate(weights, messages, num_samples, exchange):
        counted = jnp.where(wire.carries_values(messages.kind), num_samples, 0)
        sent = jax.vmap(wire.values)(messages.sections[0])
        vector, unravel = ravel_pytree(weights)
        return unravel(vector + counted @ sent / jnp.maximum(counted.sum(), 1))

    def report(weights, store):
        return jax.tree.map(lambda w: w[None], weights), None

    def lost(residual, message):
        vector, unravel = ravel_pytree(residual)
        return unravel(vector + wire.values(message.sections[0]))

    return Algorithm(
        init, broadcast, receive, upload, aggregate, report, schedules.always(), lost=lost
    )
