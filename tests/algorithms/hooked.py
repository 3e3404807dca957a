"""Local training by the hooks of an objective alone, on a loss whose gradient is known."""

import functools

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms import At, Work


def key_of(client, step):
    return jax.random.fold_in(jax.random.key(100 + client), step)


def half_square(tree, target):
    """Half the squared distance: its gradient is the tree less the target."""
    differences = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), tree, target)
    return 0.5 * sum(jax.tree.leaves(differences))


@functools.partial(jax.jit, static_argnums=0)
def stepped(objective, params, carried, target, client, at, rate):
    key = key_of(client, at.step)
    seen = lambda params: objective.view(params, carried, at, key)  # noqa: E731
    grads = jax.grad(lambda params: half_square(seen(params), target))(params)
    params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
    return params if objective.project is None else objective.project(params, carried, at)


def drawn(objective, start, target, client, steps, rate):
    """The work of a client that makes steps of SGD towards a target."""
    params = start.weights["params"]
    for index in range(steps):
        at = At(jnp.int32(index), jnp.int32(steps))
        params = stepped(objective, params, start.carried, target, client, at, rate)
    trained = {**start.weights, "params": params}
    return Work(start, trained, jnp.int32(steps), jnp.float32(rate), jnp.float32(0))


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *trees)
