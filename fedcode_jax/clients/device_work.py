"""What one device does with its clients of a round: sorted chunks, or packed slots."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms.base import Objective, Start, Work
from fedcode_jax.clients.batches import ClientData
from fedcode_jax.clients.chunks import mean_loss, train
from fedcode_jax.clients.local_step import Steps
from fedcode_jax.clients.packing import train_packed
from fedcode_jax.clients.plan import PRECISIONS, Plan
from fedcode_jax.clients.rows import Matrices, Rows
from fedcode_jax.clients.training import ClientAxis, LocalTraining

Output = Any


class Given(NamedTuple):
    """What all clients of a cohort are given alike."""

    shared: Any
    fixed: jax.Array | None
    learning_rate: jax.Array


class Member(NamedTuple):
    """What a client does around its training, and how training is; all static.

    Attributes:
      training: what a client does.
      plan: the execution plan.
      begin: (shared, a client's input) -> what it starts with, and bool[], whether it trains.
      finish: (shared, a client's input, its work, key) -> its output.
      max_size: the largest number of samples of any client.
      objective: how the algorithm shapes training.
    """

    training: LocalTraining
    plan: Plan
    begin: Callable[[Any, Any], tuple[Start, jax.Array]]
    finish: Callable[[Any, Any, Work, jax.Array], Output]
    max_size: int
    objective: Objective


def sorted_chunks(member: Member, all_present: bool) -> Callable[..., tuple]:
    """One chunk after another, each for the steps of its longest client.

    Args:
      member: what a client does.
      all_present: whether every place has a client that is there.

    Returns:
      (data, given, client, row, key), the latter three with axes [chunks, clients of a chunk],
      or under ``map`` [clients] -> outputs, steps and loss likewise, and i32[], the steps made
      one after another.
    """
    work = _chunk_work(member)
    if not all_present:
        work = _unless_nobody(work)

    def run(data: ClientData, given: Given, *own: Any) -> tuple:
        outputs, steps, loss = jax.lax.map(lambda mine: work(data, given, *mine), own)
        longest = steps if steps.ndim == 1 else jnp.max(steps, axis=1)
        return outputs, steps, loss, jnp.sum(longest)

    return run


def packed_slots(member: Member, all_present: bool) -> Callable[..., tuple]:
    """The training of all clients in slots, between the starts and the ends of all.

    What a client starts from, and what it makes of its training, is found for as many clients
    side by side as there are slots. An end fits a codebook, which takes as many kernels for one
    client as for many: done whenever one finishes, it would cost more than the training. The
    start is found a second time for it, which takes little and need not be kept.

    Args:
      member: what a client does.
      all_present: whether every place has a client that is there.

    Returns:
      (data, given, client, row, key), the latter three with an axis [clients] -> outputs, steps
      and loss likewise, and i32[], the steps made one after another.
    """
    training, plan = member.training, member.plan

    def run(data: ClientData, given: Given, client: jax.Array, row: Any, key: jax.Array) -> tuple:
        clients = client.shape[0]
        slots = min(plan.chunk, clients)
        waves = -(-clients // slots)
        place = jnp.minimum(jnp.arange(waves * slots), clients - 1)
        idle = jnp.arange(waves * slots) >= clients
        client, row, key = jax.tree.map(lambda leaf: leaf[place], (client, row, key))
        client = jnp.where(idle, -1, client)
        every = Steps(
            *(training, "vmap", data, given.fixed, given.learning_rate),
            *(member.max_size, member.objective),
        )

        def apart(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.reshape(waves, slots, *leaf.shape[1:]), tree)

        def together(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)

        def begin(row: Any) -> tuple[Start, jax.Array]:
            return member.begin(given.shared, row)

        one = jax.eval_shape(begin, jax.tree.map(lambda leaf: leaf[0], row))[0]
        rows = Rows.like(one.weights)

        def started(client: jax.Array, row: Any, key: jax.Array) -> tuple:
            start, trains = jax.vmap(begin)(row)
            keys = jax.vmap(lambda k: jax.random.fold_in(k, 0))(key)
            own = every.own(jnp.where(trains, client, -1), keys)
            return rows.matrices(start.weights), start.carried, own, keys

        with jax.default_matmul_precision(PRECISIONS[plan.precision]):
            begun = jax.lax.map(lambda mine: started(*mine), apart((client, row, key)))
            weights, carried, own, keys = together(begun)
            done = train_packed(every, slots, own, rows, weights, carried, keys)
        loss = mean_loss(training, done.loss_sum, own.size)
        end = _ending(member, rows)
        if not all_present or waves * slots > clients:
            end = _unless_nobody(end)
        ends = apart((client, row, key, done.weights, own.steps, loss))
        outputs = together(jax.lax.map(lambda mine: end(data, given, *mine), ends))
        result = jax.tree.map(lambda leaf: leaf[:clients], (outputs, own.steps, loss))
        return *result, done.sequential

    return run


def _ending(member: Member, rows: Rows) -> Callable[..., Output]:
    """(data, given, client, row, key, trained, steps, loss) of a wave -> outputs."""

    def ending(
        data: ClientData,
        given: Given,
        client: jax.Array,
        row: Any,
        key: jax.Array,
        trained: Matrices,
        *made: jax.Array,
    ) -> Output:
        def finished(row: Any, key: jax.Array, trained: Any, *made: jax.Array) -> Output:
            steps, loss = made
            start, _ = member.begin(given.shared, row)
            work = Work(start, trained, steps, given.learning_rate, loss)
            return member.finish(given.shared, row, work, jax.random.fold_in(key, 1))

        return jax.vmap(finished)(row, key, rows.tree(trained), *made)

    return ending


def _chunk_work(member: Member) -> Callable[..., tuple]:
    """(data, given, client, row, key) of a chunk -> outputs, steps and loss."""
    axis: ClientAxis = "vmap" if member.plan.client_axis == "vmap" else "map"
    lift = jax.vmap if axis == "vmap" else lambda function: function

    def work(data: ClientData, given: Given, client: jax.Array, row: Any, key: jax.Array) -> tuple:
        start, trains = lift(lambda row: member.begin(given.shared, row))(row)
        train_keys = lift(lambda k: jax.random.fold_in(k, 0))(key)
        finish_keys = lift(lambda k: jax.random.fold_in(k, 1))(key)
        with jax.default_matmul_precision(PRECISIONS[member.plan.precision]):
            trained = train(
                *(member.training, axis, start, data, jnp.where(trains, client, -1), train_keys),
                *(given.fixed, given.learning_rate),
                max_size=member.max_size,
                objective=member.objective,
            )

        def finished(row: Any, start: Start, trained: Any, key: jax.Array) -> Output:
            done = Work(start, trained.weights, trained.steps, given.learning_rate, trained.loss)
            return member.finish(given.shared, row, done, key)

        return lift(finished)(row, start, trained, finish_keys), trained.steps, trained.loss

    return work


def _unless_nobody(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and zeros at once for a chunk in which nobody is present."""

    def chunk(data: ClientData, given: Given, client: jax.Array, *own: Any) -> Any:
        inputs = (data, given, client, *own)
        shapes = jax.eval_shape(work, *inputs)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.cond(jnp.any(client >= 0), work, lambda *_: nothing, *inputs)

    return chunk
