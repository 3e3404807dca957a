"""The best combination of several partitions, where squared error and code length count.

A generalised Lloyd iteration moves the borders of cells, but where a cell too many or too few
costs little to leave and much to get rid of, it stays. From grids of different steps it ends in
different partitions, each of them better than the others somewhere. The cost of a partition is a
sum over its cells, so dynamic programming over the borders of all of them finds the best partition
that they can be put together to, of any number of cells.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.moments import Moments, Sets, Tree, measure, merge, seen_from

_SPAN = 24  # pieces between neighbouring borders that a cell is made of, at most
_MOST_TRIES = 12
_LEAST_FEE = 1e-9  # as a share of the whole error


class _Search(NamedTuple):
    """The fees between which the right one is, tries so far, and the way and cost of the higher."""

    low: jax.Array
    high: jax.Array
    tries: jax.Array
    back: jax.Array
    cost: jax.Array


def cost(moments: Moments, total: jax.Array, price: jax.Array) -> jax.Array:
    """Squared error plus price times bits of cells in a partition of so much weight: f32[...]."""
    weight = moments.weight
    bits = jnp.log2(total) - jnp.log2(jnp.where(weight > 0, weight, total))
    return moments.error + price * weight * bits


def combine(tree: Tree, partitions: jax.Array, price: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The best partition into at most K cells whose borders are among those of some partitions.

    Args:
      tree: of the atoms.
      partitions: i32[C, K + 1], ends of cells, ascending from 0 to the number of atoms, equal ones
        enclosing nothing.
      price: f32[], squared error a bit.

    Returns:
      Ends i32[K + 1], the last one repeated, and the cost f32[], infinite if nothing was found. No
      cell passes over more than 24 borders: a partition with such a cell may be better.
    """
    K = partitions.shape[1] - 1
    points = jnp.sort(partitions.reshape(-1))
    is_new = jnp.append(True, points[1:] > points[:-1])
    place = jnp.where(is_new, jnp.cumsum(is_new) - 1, points.size)
    points = jnp.full_like(points, points[-1]).at[place].set(points, mode="drop")
    last = jnp.sum(is_new, dtype=jnp.int32) - 1
    costs = _costs(tree, points, price)

    def search(state: _Search) -> _Search:
        # More cells than K are brought down by a fee on each.
        fee = jnp.where(state.tries > 0, jnp.sqrt(state.low * state.high), 0)
        least, number, back = _solve(costs + fee, last)
        fits = number <= K
        low, high = jnp.where(fits, state.low, fee), jnp.where(fits, fee, state.high)
        low = jnp.maximum(low, _LEAST_FEE * whole)
        back = jnp.where(fits, back, state.back)
        least = jnp.where(fits, least - fee * number, state.cost)
        return _Search(low, high, state.tries + 1, back, least)

    def unfinished(state: _Search) -> jax.Array:
        return (state.tries == 0) | ((state.high > 0) & (state.tries < _MOST_TRIES))

    whole = tree.rows[2, 1]
    back = jnp.zeros(points.size - 1, jnp.int32)
    start = _Search(jnp.zeros(()), whole, jnp.int32(0), back, jnp.float32(jnp.inf))
    *_, back, least = jax.lax.while_loop(unfinished, search, start)

    def go_back(stop: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        stop = jnp.where(stop > 0, stop - 1 - back[jnp.maximum(stop - 1, 0)], 0)
        return stop, stop

    _, starts = jax.lax.scan(go_back, last, None, K)
    # Walked from the last cell to the first, with zeros after it.
    number = jnp.sum(starts > 0) + 1
    order = number - 1 - jnp.arange(K + 1)
    return points[jnp.where(order >= 0, starts[jnp.maximum(order, 0)], last)], least


def _costs(tree: Tree, points: jax.Array, price: jax.Array) -> jax.Array:
    """Of each piece between points, the cost of cells that end with it: f32[P - 1, S].

    The second index is how many pieces before it are in the cell.
    """
    pieces = measure(tree, points)
    count = pieces.points.size
    at = jnp.arange(count)

    def extend(below: Moments, number: jax.Array) -> tuple[Moments, jax.Array]:
        # Seen from the last piece, which may be narrow and the others far.
        first = at - number
        piece = jax.tree.map(lambda x: x[jnp.maximum(first, 0)], pieces)
        cell = merge(seen_from(pieces.points, Sets(*piece)), below)
        return cell, jnp.where(first >= 0, cost(cell, tree.rows[0, 1], price), jnp.inf)

    nothing = Moments(*(jnp.zeros(count) for _ in range(3)))
    return jax.lax.scan(extend, nothing, jnp.arange(_SPAN))[1].T


def _solve(costs: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cost and number of cells of the best partition up to point ``last``, and the way back.

    The way back i32[P - 1] is of each piece how many before it are in the cell that it ends.
    """

    def forward(piece: jax.Array, carry: tuple) -> tuple:
        # Of the point before the piece, and of those before that.
        best, numbers, back = carry
        options = best + costs[piece]
        chosen = jnp.argmin(options).astype(jnp.int32)
        best = jnp.concatenate([options[chosen][None], best[:-1]])
        numbers = jnp.concatenate([numbers[chosen][None] + 1, numbers[:-1]])
        return best, numbers, back.at[piece].set(chosen)

    best = jnp.full(_SPAN, jnp.inf).at[0].set(0)
    numbers = jnp.zeros(_SPAN, jnp.int32)
    back = jnp.zeros(len(costs), jnp.int32)
    best, numbers, back = jax.lax.fori_loop(0, last, forward, (best, numbers, back))
    return best[0], numbers[0], back
