"""SCAFFOLD (Karimireddy et al., arXiv 1910.06378), option II, for models without statistics."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from fedcode_jax import schedules
from fedcode_jax.algorithms import Algorithm, Objective, Start
from fedcode_jax.wire import Dense, Kind, Message, carries_values


def scaffold():
    """Server: (w, c, C). Client: c_i. Both ways go two vectors of floats: (w, c), and changes."""

    def send(kind, *trees):
        return Message(jnp.int32(kind), tuple(Dense(ravel_pytree(tree)[0]) for tree in trees))

    def moved(tree, vector):
        return jax.tree.map(jnp.add, tree, ravel_pytree(tree)[1](vector))

    def init(weights, num_clients):
        (params,) = weights.values()  # there are no statistics
        controls = jax.tree.map(lambda p: jnp.zeros((num_clients, *p.shape)), params)
        return (params, jax.tree.map(jnp.zeros_like, params), jnp.float32(num_clients)), controls

    def broadcast(server, exchange, key):
        return send(Kind.WEIGHTS, *server[:2]), server

    def receive(own, message, common):
        w, c = (ravel_pytree(own)[1](section.values) for section in message.sections)
        return Start({"params": w}, (c, own))

    def gradient(grads, params, carried, at):
        return jax.tree.map(lambda g, c, own: g - own + c, grads, *carried)

    def upload(own, work, exchange, key):
        move = jax.tree.map(jnp.subtract, work.trained["params"], work.start.weights["params"])
        rate = work.steps * work.learning_rate
        change = jax.tree.map(lambda c, d: -c - d / rate, work.start.carried[0], move)
        return send(Kind.UPDATE, move, change), jax.tree.map(jnp.add, own, change)

    def aggregate(server, messages, num_samples, exchange):
        (w, c, clients), (moves, changes) = server, (part.values for part in messages.sections)
        counted = jnp.where(carries_values(messages.kind), num_samples, 0)
        mean = counted @ moves / jnp.maximum(counted.sum(), 1)
        return moved(w, mean), moved(c, changes.sum(axis=0) / clients), clients  # lost ones are 0

    def report(server, store):
        return {"params": jax.tree.map(lambda w: w[None], server[0])}, None

    def lost(own, message):
        return moved(own, -message.sections[1].values)

    schedule, objective = schedules.always(), Objective(gradient=gradient)
    return Algorithm(
        *(init, broadcast, receive, upload, aggregate, report, schedule, objective), lost=lost
    )
