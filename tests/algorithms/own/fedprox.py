"""FedProx (Li et al., arXiv 1812.06127): FedAvg whose clients are held near where they start."""

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms import Objective, fedavg


def fedprox(mu=0.1):
    """FedAvg with mu/2 |params - start|^2 added to the loss of every local step."""
    base = fedavg()

    def receive(stored, message, common):
        start = base.receive(stored, message, common)
        return start._replace(carried=start.weights["params"])

    def penalty(params, start):
        squares = jax.tree.map(lambda p, s: jnp.sum((p - s) ** 2), params, start)
        return mu / 2 * sum(jax.tree.leaves(squares))

    return base._replace(receive=receive, objective=Objective(penalty=penalty))
