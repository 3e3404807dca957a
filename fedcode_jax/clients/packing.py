"""Packed slots: clients side by side, and in each place the next as soon as one has finished."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.clients.local_step import Own, Progress, Steps, where_each
from fedcode_jax.clients.rows import Matrices, Rows


class Packed(NamedTuple):
    """What the clients of a device come to.

    Attributes:
      weights: the trained variables, K rows.
      loss_sum: f32[K], over all samples of all epochs.
      sequential: i32[], steps made one after another.
    """

    weights: Matrices
    loss_sum: jax.Array
    sequential: jax.Array


class _Slots(NamedTuple):
    """The state between two events; an event is that a client has made its steps.

    Attributes:
      now: where training stands in each of the W slots.
      occupant: i32[W], which client a slot trains; K for none.
      made: i32[W], steps that it has made of its client.
      held: of each client a row of the variables it starts from, and once it has finished of
        those it ends with; and its loss.
      taken: i32[], clients that have been given a slot.
      sequential: i32[], steps made one after another.
    """

    now: Progress
    occupant: jax.Array
    made: jax.Array
    held: tuple[Matrices, jax.Array]
    taken: jax.Array
    sequential: jax.Array


def train_packed(
    every: Steps,
    slots: int,
    own: Own,
    rows: Rows,
    weights: Matrices,
    carried: Any,
    keys: jax.Array,
) -> Packed:
    """Trains the clients of a device in W slots.

    The clients wait in a queue, longest first, and whichever slot falls free takes the next:
    Graham's list scheduling, which ends within 4/3 of the shortest time that there is, and mostly
    within some hundredths. It needs no table of who runs where, so that another cohort is the same
    program. Nobody's state is masked: between two events no slot finishes, and one that has nobody
    to train computes what is not looked at.

    At an event the rows of who has finished are written and those of who comes next are read. So
    the variables of all K clients lie on the device, but the state of the optimiser and all that
    a step works on for W alone.

    Args:
      every: what a step is.
      slots: W, at most K.
      own: what each client brings, with a leading axis of K; of one that makes no step its start
        is its end.
      rows: how variables are laid in rows.
      weights: K rows of those that each starts from.
      carried: what the objective is given, with a leading axis of K.
      keys: keys[K], of this round.

    Returns:
      What they come to.

    References:
      Graham, Bounds on multiprocessing timing anomalies, 1969.
    """
    clients = own.steps.shape[0]
    queue = jnp.argsort(-own.steps, stable=True)
    waiting = jnp.sum(own.steps > 0)
    nobody = jnp.full(slots, clients)

    def at(which: jax.Array, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[which], tree)

    def take(slot: _Slots) -> _Slots:
        """Gives every free slot the next client."""
        occupant, fresh = _next(slot, queue, waiting)
        row = jnp.minimum(occupant, clients - 1)
        begun = every.begun(rows.tree(at(row, slot.held[0])), keys[row])
        return slot._replace(
            now=where_each(fresh, begun, slot.now),
            occupant=occupant,
            made=jnp.where(fresh, 0, slot.made),
            taken=slot.taken + jnp.sum(fresh),
        )

    def to_next_event(slot: _Slots) -> _Slots:
        """Runs until a client has finished, and puts away what it came to."""
        slot = take(slot)
        row = jnp.minimum(slot.occupant, clients - 1)
        mine, given = at(row, (own, carried))
        busy = slot.occupant < clients
        left = jnp.where(busy, mine.steps - slot.made, jnp.iinfo(jnp.int32).max)
        # Under vmap an experiment that has ended goes through the motions with the others.
        length = jnp.where(jnp.any(busy), jnp.min(left), 0)

        def step(i: jax.Array, now: Progress) -> Progress:
            return every.after(now, mine, given, slot.made + i)

        now, made = jax.lax.fori_loop(0, length, step, slot.now), slot.made + length
        finished = busy & (made == mine.steps)
        target = jnp.where(finished, slot.occupant, clients)
        result = (rows.matrices({"params": now.params, **now.state}), now.loss_sum)
        held = jax.tree.map(
            lambda leaf, new: leaf.at[target].set(new, mode="drop"), slot.held, result
        )
        occupant = jnp.where(finished, clients, slot.occupant)
        return _Slots(now, occupant, made, held, slot.taken, slot.sequential + length)

    def going_on(slot: _Slots) -> jax.Array:
        return (slot.taken < waiting) | jnp.any(slot.occupant < clients)

    first = every.begun(rows.tree(at(jnp.arange(slots), weights)), keys[:slots])
    held, none = (weights, jnp.zeros(clients)), jnp.int32(0)
    start = _Slots(first, nobody, jnp.zeros_like(nobody), held, none, none)
    end = jax.lax.while_loop(going_on, to_next_event, start)
    return Packed(*end.held, end.sequential)


def _next(slot: _Slots, queue: jax.Array, waiting: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Who is in each slot once those that are free have taken the next, and which were."""
    clients = queue.shape[0]
    free = slot.occupant == clients
    place = slot.taken + jnp.cumsum(free) - 1
    fresh = free & (place < waiting)
    return jnp.where(fresh, queue[jnp.minimum(place, clients - 1)], slot.occupant), fresh
