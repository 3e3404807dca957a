"""The clients of one round: sorted by their work, cut into chunks, run by a plan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.clients.batches import ClientData, num_steps
from fedcode_jax.clients.plan import Plan
from fedcode_jax.clients.training import LocalTraining, Weights, train

Output = Any


class CohortOutput(NamedTuple):
    """What a round of local work gives, in the order of the clients asked for.

    Attributes:
      outputs: what ``finish`` gave, with a leading axis of M.
      loss: f32[M], mean training cross-entropy.
      needed_steps: i32[], local steps that the clients have.
      executed_steps: i32[], local steps that were computed, those of finished clients in a
        chunk and of clients that fill the last chunk included.
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
    inputs: Any,
    keys: jax.Array,
    begin: Callable[[Any], Weights],
    finish: Callable[[Any, Weights, Weights, jax.Array], Output],
    *,
    max_size: int,
) -> CohortOutput:
    """Runs begin, local training and finish for every client of a cohort.

    Under ``map`` clients run one after another, each for its own number of steps. Under
    ``vmap`` they are sorted by their number of steps, longest first, and cut into chunks
    that run side by side, each chunk for the steps of its longest client; the last chunk is
    filled up with idle places. Only one chunk's float weights exist at a time.

    Args:
      training: what a client does.
      plan: the execution plan.
      data: the resident data.
      clients: i32[M], rows of ``data``.
      inputs: a pytree with a leading axis of M, one row a client.
      keys: keys[M].
      begin: a client's input -> the weights it starts from.
      finish: (a client's input, trained weights, starting weights, key) -> its output.
      max_size: the largest number of samples of any client, static.

    Returns:
      The outputs and the work done.
    """

    def work(axis: Any, client: jax.Array, row: Any, key: jax.Array) -> tuple:
        lift = jax.vmap if axis == "vmap" else lambda function: function
        start = lift(begin)(row)
        train_keys = lift(lambda k: jax.random.fold_in(k, 0))(key)
        finish_keys = lift(lambda k: jax.random.fold_in(k, 1))(key)
        trained, loss = train(training, axis, start, data, client, train_keys, max_size=max_size)
        return lift(finish)(row, trained, start, finish_keys), loss

    steps = num_steps(data.sizes[clients], training.epochs, training.batch_size)
    needed = jnp.sum(steps)
    if plan.client_axis == "map":
        outputs, loss = jax.lax.map(lambda args: work("map", *args), (clients, inputs, keys))
        return CohortOutput(outputs, loss, needed, needed)

    count = clients.shape[0]
    chunk = min(plan.chunk, count)
    num_chunks = -(-count // chunk)
    longest_first = jnp.argsort(-steps, stable=True)
    places = jnp.arange(num_chunks * chunk)
    rank = longest_first[jnp.minimum(places, count - 1)]
    placed = jnp.where(places < count, clients[rank], -1).reshape(num_chunks, chunk)

    def chunked(leaf: jax.Array) -> jax.Array:
        return leaf[rank].reshape(num_chunks, chunk, *leaf.shape[1:])

    outputs, loss = jax.lax.map(
        lambda args: work("vmap", *args),
        (placed, jax.tree.map(chunked, inputs), chunked(keys)),
    )
    place_of = jnp.zeros(count, jnp.int32).at[longest_first].set(jnp.arange(count))

    def restored(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(num_chunks * chunk, *leaf.shape[2:])[place_of]

    executed = jnp.sum(steps[longest_first][::chunk]) * chunk
    return CohortOutput(jax.tree.map(restored, outputs), restored(loss), needed, executed)
