"""The clients of one round: dealt to devices and chunks, and run by a plan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from fedcode_jax.clients.batches import ClientData, num_steps
from fedcode_jax.clients.mesh import AXIS, client_mesh, places
from fedcode_jax.clients.plan import Plan
from fedcode_jax.clients.training import ClientAxis, LocalTraining, Weights, train

Output = Any


class CohortOutput(NamedTuple):
    """What a round of local work gives, in the order of the clients asked for.

    Attributes:
      outputs: what ``finish`` gave, with a leading axis of M.
      loss: f32[M], mean training cross-entropy.
      needed_steps: i32[], local steps that the clients have.
      executed_steps: i32[], local steps that the busiest device was occupied with, those of
        finished clients in a chunk and of idle places included, times the number of devices.
    """

    outputs: Output
    loss: jax.Array
    needed_steps: jax.Array
    executed_steps: jax.Array


def run_cohort(
    training: LocalTraining,
    plan: Plan,
    data: ClientData,
    clients: jax.Array,
    shared: Any,
    inputs: Any,
    keys: jax.Array,
    begin: Callable[[Any, Any], Weights],
    finish: Callable[[Any, Any, Weights, Weights, jax.Array], Output],
    *,
    max_size: int,
    fixed: jax.Array | None = None,
    learning_rate: jax.Array | float = 1.0,
) -> CohortOutput:
    """Runs begin, local training and finish for every client of a cohort.

    The clients are cut into chunks in the order in which they are given, best that of
    ``dealt``, as many chunks on each device. A device runs its chunks one after another, each
    for the steps of its longest client: the clients of a chunk side by side under ``vmap``;
    under ``map`` a chunk is one client. Some places may be idle. Only one chunk's float
    weights exist on a device at a time.

    Args:
      training: what a client does.
      plan: the execution plan.
      data: the resident data.
      clients: i32[M], rows of ``data``.
      shared: a pytree that every client has, the broadcast say. Traced values must come in
        here: with several devices ``begin`` and ``finish`` cannot close over them.
      inputs: a pytree with a leading axis of M, one row a client.
      keys: keys[M].
      begin: (shared, a client's input) -> the weights it starts from.
      finish: (shared, a client's input, trained weights, starting weights, key) -> its output.
      max_size: the largest number of samples of any client, static.
      fixed: bool[], whether batch norm keeps its running averages, or None.
      learning_rate: f32[], for an optimiser that is a function of it.

    Returns:
      The outputs and the work done.
    """
    axis: ClientAxis = "vmap" if plan.client_axis == "vmap" else "map"
    lift = jax.vmap if axis == "vmap" else lambda function: function

    def work(data: ClientData, common: Any, client: jax.Array, row: Any, key: jax.Array) -> tuple:
        shared, fixed, learning_rate = common
        start = lift(lambda row: begin(shared, row))(row)
        train_keys = lift(lambda k: jax.random.fold_in(k, 0))(key)
        finish_keys = lift(lambda k: jax.random.fold_in(k, 1))(key)
        trained, loss = train(
            *(training, axis, start, data, client, train_keys, fixed, learning_rate),
            max_size=max_size,
        )
        return lift(lambda *own: finish(shared, *own))(row, trained, start, finish_keys), loss

    devices, idle = plan.devices, places(clients.shape[0], plan.chunk, plan.devices) < 0
    occupant = np.maximum(np.cumsum(~idle) - 1, 0)

    def placed(leaf: jax.Array) -> jax.Array:
        leaf = leaf[occupant] if idle.any() else leaf
        return leaf.reshape(*idle.shape, *leaf.shape[1:])

    def unplaced(leaf: jax.Array) -> jax.Array:
        leaf = leaf.reshape(idle.size, *leaf.shape[3:])
        return leaf[np.flatnonzero(~idle)] if idle.any() else leaf

    def run(data: ClientData, common: Any, *assigned: Any) -> tuple:
        """The chunks of one device, one after another."""
        # Under map a chunk is one client, without an axis.
        first = lambda leaf: leaf[0, :, 0] if axis == "map" else leaf[0]  # noqa: E731
        back = lambda leaf: leaf[None, :, None] if axis == "map" else leaf[None]  # noqa: E731
        own = jax.tree.map(first, assigned)
        done = jax.lax.map(lambda chunk: work(data, common, *chunk), own)
        return jax.tree.map(back, done)

    if devices > 1:
        everywhere, apart = PartitionSpec(), PartitionSpec(AXIS)
        run = jax.shard_map(
            run,
            mesh=client_mesh(devices),
            in_specs=(everywhere, everywhere, apart, apart, apart),
            out_specs=apart,
            check_vma=False,
        )
    active = jnp.where(idle, -1, placed(clients))
    common = (shared, fixed, jnp.asarray(learning_rate))
    outputs, loss = run(data, common, active, jax.tree.map(placed, inputs), placed(keys))

    steps = num_steps(data.sizes[clients], training.epochs, training.batch_size)
    of_chunk = jnp.max(jnp.where(idle, 0, placed(steps)), axis=2)
    executed = jnp.max(jnp.sum(of_chunk, axis=1)) * idle[:, 0].size
    return CohortOutput(jax.tree.map(unplaced, outputs), unplaced(loss), jnp.sum(steps), executed)


def dealt(plan: Plan, steps: jax.Array) -> jax.Array:
    """The order in which a cohort is best given to ``run_cohort``.

    Sorted by their number of steps, longest first, and cut into chunks, so that little is
    padded; the chunks are dealt to the devices, so that all have about as much to do.

    Args:
      plan: the execution plan.
      steps: i32[M], local steps of each client.

    Returns:
      i32[M], positions in ``steps``.

    Example:
      >>> dealt(Plan("map", 1, "native", devices=2), jnp.array([1, 2, 3, 9])).tolist()
      [3, 0, 2, 1]
    """
    ranks = places(len(steps), plan.chunk, plan.devices)
    return jnp.argsort(-steps, stable=True)[ranks[ranks >= 0]]
