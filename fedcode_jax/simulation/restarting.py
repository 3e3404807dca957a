"""What is left of a round in which the server restarted."""

from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms import Algorithm
from fedcode_jax.simulation.state import NEVER, State


def restarted(algorithm: Algorithm, before: State, after: State, restarts: jax.Array) -> State:
    """The state after a round in which the server may have restarted.

    A server that has restarted holds what it held before the round, and does not know what its
    clients hold: all of them count as never contacted.

    Args:
      algorithm: whose state it is.
      before: the state before the round.
      after: the state after it, in which no upload counted if the server restarted.
      restarts: bool[], whether it did.

    Returns:
      The state.
    """

    def where(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(restarts, a, b), new, old)

    store = after.store
    if algorithm.restarted is not None:
        store = where(jax.vmap(algorithm.restarted)(store), store)
    return after._replace(
        server=where(before.server, after.server),
        store=store,
        missed=jnp.where(restarts, NEVER, after.missed),
        memory=where(before.memory, after.memory),
        known=where(jax.tree.map(jnp.zeros_like, after.known), after.known),
    )
