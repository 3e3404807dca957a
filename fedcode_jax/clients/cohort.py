"""The clients of one round: dealt to devices and chunks, and run by a plan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from fedcode_jax import randomness
from fedcode_jax.algorithms.base import Objective, Start, Work
from fedcode_jax.clients.batches import ClientData
from fedcode_jax.clients.places import places
from fedcode_jax.clients.plan import PRECISIONS, Plan
from fedcode_jax.clients.training import ClientAxis, LocalTraining, train
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
        finished clients in a chunk and of idle places included, times the number of devices.
    """

    outputs: Output
    loss: jax.Array
    needed_steps: jax.Array
    executed_steps: jax.Array


class _Given(NamedTuple):
    """What all clients of a cohort are given alike."""

    shared: Any
    fixed: jax.Array | None
    learning_rate: jax.Array


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

    The clients are cut into chunks in the order in which they are given, best that of
    ``dealt``, as many chunks on each device. A device runs its chunks one after another, each
    for the steps of its longest client: the clients of a chunk side by side under ``vmap``;
    under ``map`` a chunk is one client. Some places may be idle, and a chunk of which nobody is
    present is passed over. Only one chunk's float weights exist on a device at a time.

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
    layout = _Layout(clients.shape[0], plan)
    work = _chunk_work(training, plan, begin, finish, max_size, objective)
    if present is not None or layout.idle.any():
        work = _unless_nobody(work)
    # Under map a chunk is one client, without an axis.
    alone = plan.client_axis == "map"

    def run(data: ClientData, given: _Given, *assigned: Any) -> tuple:
        """The chunks of one device, one after another."""
        first = lambda leaf: leaf[0, :, 0] if alone else leaf[0]  # noqa: E731
        back = lambda leaf: leaf[None, :, None] if alone else leaf[None]  # noqa: E731
        own = jax.tree.map(first, assigned)
        done = jax.lax.map(lambda mine: work(data, given, *mine), own)
        return jax.tree.map(back, done)

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
    given = _Given(shared, fixed, jnp.asarray(learning_rate))
    rows = jax.tree.map(layout.placed, inputs)
    outputs, steps, loss = run(data, given, active, rows, layout.placed(keys))

    steps = jnp.where(layout.idle, 0, steps)
    executed = jnp.max(jnp.sum(jnp.max(steps, axis=2), axis=1)) * layout.idle[:, 0].size
    outputs = jax.tree.map(layout.unplaced, outputs)
    return CohortOutput(outputs, layout.unplaced(loss), jnp.sum(steps), executed)


def _chunk_work(
    training: LocalTraining,
    plan: Plan,
    begin: Callable[[Any, Any], tuple[Start, jax.Array]],
    finish: Callable[[Any, Any, Work, jax.Array], Output],
    max_size: int,
    objective: Objective,
) -> Callable[..., tuple]:
    """(data, given, client, row, key) of a chunk -> outputs, steps and loss."""
    axis: ClientAxis = "vmap" if plan.client_axis == "vmap" else "map"
    lift = jax.vmap if axis == "vmap" else lambda function: function

    def work(data: ClientData, given: _Given, client: jax.Array, row: Any, key: jax.Array) -> tuple:
        start, trains = lift(lambda row: begin(given.shared, row))(row)
        train_keys = lift(lambda k: jax.random.fold_in(k, 0))(key)
        finish_keys = lift(lambda k: jax.random.fold_in(k, 1))(key)
        with jax.default_matmul_precision(PRECISIONS[plan.precision]):
            trained = train(
                *(training, axis, start, data, jnp.where(trains, client, -1), train_keys),
                *(given.fixed, given.learning_rate),
                max_size=max_size,
                objective=objective,
            )

        def finished(row: Any, start: Start, trained: Any, key: jax.Array) -> Output:
            done = Work(start, trained.weights, trained.steps, given.learning_rate, trained.loss)
            return finish(given.shared, row, done, key)

        return lift(finished)(row, start, trained, finish_keys), trained.steps, trained.loss

    return work


def _unless_nobody(work: Callable[..., tuple]) -> Callable[..., tuple]:
    """The same, and zeros at once for a chunk in which nobody is present."""

    def chunk(data: ClientData, given: _Given, client: jax.Array, *own: Any) -> tuple:
        inputs = (data, given, client, *own)
        shapes = jax.eval_shape(work, *inputs)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.cond(jnp.any(client >= 0), work, lambda *_: nothing, *inputs)

    return chunk


class _Layout:
    """The places of a cohort: [devices, chunks of a device, clients of a chunk].

    Attributes:
      idle: bool of that shape, places without a client.
    """

    def __init__(self, cohort: int, plan: Plan) -> None:
        self.idle = places(cohort, plan.chunk, plan.devices) < 0
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
    padded; the chunks are dealt to the devices, so that all have about as much to do.

    Args:
      plan: the execution plan.
      steps: i32[M], local steps of each client; 0 of those that are away.

    Returns:
      i32[M], positions in ``steps``.

    Example:
      >>> dealt(Plan("map", 1, "native", devices=2), jnp.array([1, 2, 3, 9])).tolist()
      [3, 0, 2, 1]
    """
    ranks = places(len(steps), plan.chunk, plan.devices)
    return jnp.argsort(-steps, stable=True)[ranks[ranks >= 0]]
