"""The clients of one round: sorted by their work, cut into chunks, run by a plan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from fedcode_jax.clients.batches import ClientData, num_steps
from fedcode_jax.clients.mesh import AXIS, client_mesh, deal
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
) -> CohortOutput:
    """Runs begin, local training and finish for every client of a cohort.

    They are sorted by their number of steps, longest first, and cut into chunks, which are
    dealt to the devices. A device runs its chunks one after another, each for the steps of
    its longest client: the clients of a chunk side by side under ``vmap``; under ``map`` a
    chunk is one client. The last places may be idle. Only one chunk's float weights exist
    on a device at a time.

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

    Returns:
      The outputs and the work done.
    """
    axis: ClientAxis = "vmap" if plan.client_axis == "vmap" else "map"
    lift = jax.vmap if axis == "vmap" else lambda function: function

    def work(data: ClientData, shared: Any, client: jax.Array, row: Any, key: jax.Array) -> tuple:
        start = lift(lambda row: begin(shared, row))(row)
        train_keys = lift(lambda k: jax.random.fold_in(k, 0))(key)
        finish_keys = lift(lambda k: jax.random.fold_in(k, 1))(key)
        trained, loss = train(training, axis, start, data, client, train_keys, max_size=max_size)
        return lift(lambda *own: finish(shared, *own))(row, trained, start, finish_keys), loss

    steps = num_steps(data.sizes[clients], training.epochs, training.batch_size)
    count, devices = clients.shape[0], plan.devices
    chunk = min(plan.chunk, count)
    num_chunks = -(-count // chunk)
    chunks = deal(num_chunks, devices)
    # [devices, chunks of a device, clients of a chunk]: positions among the sorted clients
    position = chunks[:, :, None] * chunk + np.arange(chunk)
    longest_first = jnp.argsort(-steps, stable=True)
    source = longest_first[np.minimum(position, count - 1)]
    placed = jnp.where(position < count, clients[source], -1)

    def run(data: ClientData, shared: Any, *assigned: Any) -> tuple:
        """The chunks of one device, one after another."""
        # Under map a chunk is one client, without an axis.
        first = lambda leaf: leaf[0, :, 0] if axis == "map" else leaf[0]  # noqa: E731
        back = lambda leaf: leaf[None, :, None] if axis == "map" else leaf[None]  # noqa: E731
        own = jax.tree.map(first, assigned)
        done = jax.lax.map(lambda chunk: work(data, shared, *chunk), own)
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
    rows = jax.tree.map(lambda leaf: leaf[source], inputs)
    outputs, loss = run(data, shared, placed, rows, keys[source])

    places = np.empty(position.size, np.int32)
    places[position.ravel()] = np.arange(position.size)
    place_of = jnp.zeros(count, jnp.int32).at[longest_first].set(places[:count])

    def restored(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(position.size, *leaf.shape[3:])[place_of]

    longest = jnp.zeros(chunks.size, steps.dtype).at[:num_chunks].set(steps[longest_first][::chunk])
    executed = jnp.max(jnp.sum(longest[chunks], axis=1)) * devices * chunk
    return CohortOutput(jax.tree.map(restored, outputs), restored(loss), jnp.sum(steps), executed)
