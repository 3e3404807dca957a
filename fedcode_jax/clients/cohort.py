"""The clients of one round: dealt to devices and chunks, and run by a plan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from fedcode_jax import randomness
from fedcode_jax.algorithms.base import Objective, Start, Work
from fedcode_jax.clients.batches import ClientData
from fedcode_jax.clients.device_work import Given, Member, packed_slots, sorted_chunks
from fedcode_jax.clients.layout import Layout
from fedcode_jax.clients.plan import Plan
from fedcode_jax.clients.training import LocalTraining
from fedcode_jax.devices import CLIENTS, axis_of

Output = Any


class CohortOutput(NamedTuple):
    """What a round of local work gives, in the order of the clients asked for.

    Attributes:
      outputs: what ``finish`` gave, with a leading axis of M; of a client that is not present it
        may be zeros.
      loss: f32[M], mean training loss.
      needed_steps: i32[], local steps that the clients made.
      executed_steps: i32[], local steps that the busiest device was occupied with, those of
        finished clients in a chunk, of idle places and of idle slots included, times the number
        of devices.
    """

    outputs: Output
    loss: jax.Array
    needed_steps: jax.Array
    executed_steps: jax.Array


@randomness.standardised
def run_cohort(
    training: LocalTraining,
    plan: Plan,
    data: ClientData,
    clients: jax.Array,
    shared: Any,
    inputs: Any,
    keys: jax.Array,
    begin: Callable[[Any, Any], tuple[Start, jax.Array]],
    finish: Callable[[Any, Any, Work, jax.Array], Output],
    *,
    max_size: int,
    objective: Objective = Objective(),
    present: jax.Array | None = None,
    fixed: jax.Array | None = None,
    learning_rate: jax.Array | float = 1.0,
) -> CohortOutput:
    """Runs begin, local training and finish for every client of a cohort.

    Sorted, the clients are cut into chunks in the order in which they are given, best that of
    ``dealt``, as many chunks on each device. A device runs its chunks one after another, each
    for the steps of its longest client: the clients of a chunk side by side under ``vmap``;
    under ``map`` a chunk is one client. Some places may be idle, and a chunk of which nobody is
    present is passed over. Only one chunk's float weights exist on a device at a time.

    Packed, every device has as many clients, and trains them in slots of which each takes the
    next client when it has finished one. The float weights of all of them exist at once.

    Args:
      training: what a client does.
      plan: the execution plan.
      data: the resident data.
      clients: i32[M], rows of ``data``.
      shared: a pytree that every client has, the broadcast say. Traced values must come in
        here: with several devices ``begin`` and ``finish`` cannot close over them.
      inputs: a pytree with a leading axis of M, one row a client.
      keys: keys[M].
      begin: (shared, a client's input) -> what it starts with, and bool[], whether it trains.
      finish: (shared, a client's input, its work, key) -> its output.
      max_size: the largest number of samples of any client, static.
      objective: how the algorithm shapes training, static.
      present: bool[M], clients that do anything at all; None for all.
      fixed: bool[], whether batch norm keeps its running averages, or None.
      learning_rate: f32[], for an optimiser that is a function of it.

    Returns:
      The outputs and the work done.
    """
    layout = Layout(clients.shape[0], plan)
    member = Member(training, plan, begin, finish, max_size, objective)
    kind = packed_slots if plan.layout == "packed" else sorted_chunks
    work = kind(member, present is None and not layout.idle.any())
    # Under map, and in slots, a place is one client, without an axis of its own.
    alone = plan.client_axis == "map" or plan.layout == "packed"

    def run(data: ClientData, given: Given, *assigned: Any) -> tuple:
        """The clients of one device."""
        first = lambda leaf: leaf[0, :, 0] if alone else leaf[0]  # noqa: E731
        back = lambda leaf: leaf[None, :, None] if alone else leaf[None]  # noqa: E731
        *done, sequential = work(data, given, *jax.tree.map(first, assigned))
        return *jax.tree.map(back, done), sequential[None]

    if plan.devices > 1:
        everywhere, apart = PartitionSpec(), PartitionSpec(CLIENTS)
        run = jax.shard_map(
            run,
            mesh=axis_of(plan.devices),
            in_specs=(everywhere, everywhere, apart, apart, apart),
            out_specs=apart,
            check_vma=False,
        )
    chosen = clients if present is None else jnp.where(present, clients, -1)
    active = jnp.where(layout.idle, -1, layout.placed(chosen))
    given = Given(shared, fixed, jnp.asarray(learning_rate))
    rows = jax.tree.map(layout.placed, inputs)
    outputs, steps, loss, sequential = run(data, given, active, rows, layout.placed(keys))

    executed = jnp.max(sequential) * plan.devices * plan.width(clients.shape[0])
    outputs = jax.tree.map(layout.unplaced, outputs)
    needed = jnp.sum(jnp.where(layout.idle, 0, steps))
    return CohortOutput(outputs, layout.unplaced(loss), needed, executed)
