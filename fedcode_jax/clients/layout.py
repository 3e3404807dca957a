"""The clients of a round laid out on the devices, as a plan asks, and back in their order."""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.clients.plan import Plan


class Layout:
    """The places of a cohort, as ``Plan.places`` has them.

    Attributes:
      idle: bool of that shape, places without a client.
    """

    def __init__(self, cohort: int, plan: Plan) -> None:
        self.idle = plan.places(cohort) < 0
        self._occupant = np.maximum(np.cumsum(~self.idle) - 1, 0)

    def placed(self, leaf: jax.Array) -> jax.Array:
        """[M, ...] laid out in places; idle ones repeat a client."""
        leaf = leaf[self._occupant] if self.idle.any() else leaf
        return leaf.reshape(*self.idle.shape, *leaf.shape[1:])

    def unplaced(self, leaf: jax.Array) -> jax.Array:
        """The inverse of ``placed``."""
        leaf = leaf.reshape(self.idle.size, *leaf.shape[3:])
        return leaf[np.flatnonzero(~self.idle)] if self.idle.any() else leaf


def dealt(plan: Plan, steps: jax.Array) -> jax.Array:
    """The order in which a cohort is best given to ``run_cohort``.

    Sorted by their number of steps, longest first, and cut into chunks, so that little is
    padded; the chunks, or for packed slots the clients, are dealt to the devices, so that all
    have about as much to do.

    Args:
      plan: the execution plan.
      steps: i32[M], local steps of each client; 0 of those that are away.

    Returns:
      i32[M], positions in ``steps``.

    Example:
      >>> dealt(Plan("map", 1, "native", devices=2), jnp.array([1, 2, 3, 9])).tolist()
      [3, 0, 2, 1]
    """
    ranks = plan.places(len(steps))
    return jnp.argsort(-steps, stable=True)[ranks[ranks >= 0]]
