"""The least way through a chain of costs: which place of each edge, given what each cell costs.

On a CPU one cell after another, as dynamic programming goes. For accelerators, which would wait at
each of K steps, two neighbouring cells are merged into one by a (min, +) product of their costs,
which is associative: all pairs at once, log2 K times; and the way back goes down the same levels.
"""

from itertools import zip_longest

import jax
import jax.numpy as jnp

from fedcode_jax.targets import CPU


def best_path(costs: jax.Array, end: int, target: str) -> tuple[jax.Array, jax.Array]:
    """The places of the edges between which the cells cost least together.

    Args:
      costs: f32[K, R, R], of each cell by the place of its lower and of its upper edge, infinite
        where there is none.
      end: the place of the first edge and of the last, which stay; static.
      target: the kind of machine.

    Returns:
      i32[K], the place of each cell's lower edge, of equal ones the first; f32[], what all cells
      cost.

    Source: the product is that of Bellman's shortest paths; merging in pairs, Ladner and Fischer,
    Parallel prefix computation, 1980.

    Example:
      >>> costs = jnp.array([[[9.0, 1.0], [5.0, 2.0]], [[3.0, 9.0], [4.0, 0.5]]])
      >>> for target in ("cpu", "gpu"):
      ...     places, least = best_path(costs, 0, target)
      ...     print(places.tolist(), float(least))
      [0, 1] 5.0
      [0, 1] 5.0
    """
    return (_by_steps if target == CPU else _by_pairs)(costs, end)


def _by_steps(costs: jax.Array, end: int) -> tuple[jax.Array, jax.Array]:
    R = costs.shape[1]

    def forward(best: jax.Array, cost: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _least([best[start] + cost[start] for start in range(R)]), best

    def backward(stop: jax.Array, at: tuple) -> tuple[jax.Array, jax.Array]:
        cost, best, least = at
        # The first place that gives the least error: an argmin, but one that vectorises on a CPU.
        there = best + cost[:, stop] <= least[stop]
        start = jnp.min(jnp.where(there, jnp.arange(R, dtype=jnp.int32), R - 1))
        return start, start

    last, bests = jax.lax.scan(forward, jnp.full(R, jnp.inf).at[end].set(0), costs)
    cells = costs, bests, jnp.concatenate([bests[1:], last[None]])
    _, places = jax.lax.scan(backward, jnp.int32(end), cells, reverse=True)
    return places, last[end]


def _least(rows: list[jax.Array]) -> jax.Array:
    """The least in each column: in pairs, because XLA:CPU vectorises no minimum over an axis."""
    while len(rows) > 1:
        halves = zip_longest(rows[::2], rows[1::2])
        rows = [a if b is None else jnp.minimum(a, b) for a, b in halves]
    return rows[0]


def _by_pairs(costs: jax.Array, end: int) -> tuple[jax.Array, jax.Array]:
    K, R, _ = costs.shape
    # Cells that cost nothing, and leave the place as it is, fill up the pairs.
    stays = jnp.where(jnp.eye(R, dtype=bool), 0, jnp.inf)
    depth = (K - 1).bit_length()
    filling = jnp.broadcast_to(stays, (2**depth - K, R, R))
    levels = [jnp.concatenate([costs, filling])]
    for _ in range(depth):
        left, right = levels[-1][::2], levels[-1][1::2]
        levels.append(jnp.min(left[:, :, :, None] + right[:, None], axis=2))
    edges = jnp.full(2, end, jnp.int32)
    for below in reversed(levels[:-1]):
        pair = jnp.arange(len(below) // 2)
        ways = below[2 * pair, edges[:-1]] + below[2 * pair + 1, :, edges[1:]]
        middle = jnp.argmin(ways, axis=1).astype(jnp.int32)
        inner = jnp.stack([edges[:-1], middle], axis=1).reshape(-1)
        edges = jnp.append(inner, edges[-1])
    return edges[:K], levels[-1][0, end, end]
