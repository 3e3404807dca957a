"""Leaving local optima: the best set of edges among candidates near the present ones.

Lloyd's iteration moves each edge to suit its neighbours; a center that a far region lacks comes
only slowly, or never. Here every edge brings S points, at equal steps to both sides of it, any
edge may move to any of the R points around it, and dynamic programming over the cells finds the
best combination in K R^2 operations. As all edges between two regions may move by a cell at once,
centers travel any distance in few rounds. It is the exact algorithm for one-dimensional k-means
(Bruce, 1965; Wang and Song, 2011; Grønlund et al., 2017), with the choice restricted so that
shapes are static and the work is small.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.cells import Moments, Sets, Tree, measure, merge, seen_from, unpack
from fedcode_jax.codebook.numerics import count_below


class Grid(NamedTuple):
    """How many points: S that each edge brings (even), and D to either side it may move to."""

    points: int
    moves: int


class Refined(NamedTuple):
    """Edges i32[K + 1], the means f32[K] of their cells, and squared errors, before and after."""

    edges: jax.Array
    centers: jax.Array
    before: jax.Array
    after: jax.Array


def refine(tree: Tree, edges: jax.Array, grid: Grid, reach: jax.Array, scale: jax.Array) -> Refined:
    """The best edges among candidates.

    Args:
      tree: the atoms' moments.
      edges: i32[K + 1], strictly ascending from 0 to the number of atoms.
      grid: sizes.
      reach: f32[], to what share of a cell an edge's points spread, on either side. At most one
        half, when the points of all edges are equally spaced.
      scale: f32[A], ascending, in what the steps inside a cell are equal: the atoms' positions, to
        find the gaps around outliers, or their `density`, for the structure of dense regions.

    Returns:
      What is best. The present edges are among the candidates, so the error does not grow.
    """
    K, S, D = edges.size - 1, *grid
    R, skipped = 2 * D + 1, S - 1
    points = _points(scale, edges, S, reach)
    # D more points at either end, of which nothing can be made.
    points = jnp.pad(points, D).at[-D:].set(edges[-1])
    near = tree.rows[3, edges[:-1] + tree.rows.shape[1] // 2]
    costs, means = _intervals(measure(tree, points), near, grid)

    def forward(best: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
        all_ends = jax.lax.dynamic_slice(costs, (skipped, cell, 0), (R, 1, R))
        return jnp.min(best + all_ends[:, 0], axis=1), best

    def backward(end: jax.Array, at: tuple) -> tuple[jax.Array, tuple]:
        cell, best = at
        end = end + skipped
        start = jnp.argmin(best + costs[end, cell]).astype(jnp.int32)
        return start, (points[cell * S + S // 2 + start], means[end, cell, start])

    cells = jnp.arange(K)
    stays = jnp.int32(D)
    last, bests = jax.lax.scan(forward, jnp.full(R, jnp.inf).at[D].set(0), cells)
    _, (moved, centers) = jax.lax.scan(backward, stays, (cells, bests), reverse=True)
    moved = jnp.concatenate([moved, edges[-1:]])
    return Refined(moved, near + centers, jnp.sum(costs[skipped + D, :, D]), last[D])


def _points(scale: jax.Array, edges: jax.Array, S: int, reach: jax.Array) -> jax.Array:
    """The points that the edges bring, i32[(K + 1) * S], ascending; S / 2 of each are below it."""
    step = jnp.arange(-S // 2, S // 2)
    below = step < 0
    part = jnp.where(below, 1, 0) + step * (2 * reach / S)
    at = jnp.arange(edges.size)[:, None] - below
    start, stop = edges[jnp.maximum(at, 0)], edges[jnp.minimum(at + 1, edges.size - 1)]
    low, high = scale[jnp.minimum(start, scale.size - 1)], scale[jnp.maximum(stop - 1, start)]
    found = jnp.clip(count_below(scale, low + part * (high - low)), start, stop)
    return jnp.where(part > 0, found, start).reshape(-1)


def _intervals(segments: Sets, near: jax.Array, grid: Grid) -> tuple[jax.Array, jax.Array]:
    """Every cell between any of the R places of its lower edge and any of its upper edge.

    Args:
      segments: of the padded points.
      near: f32[K], a point of each cell, from which its means are measured.
      grid: sizes.

    Returns:
      costs and means, f32[S - 1 + R, K, R], by place of the upper edge, with S - 1 of no use before
      the first, by cell, and by place of the lower edge. The cost is the squared error, or infinite
      where nothing lies between.
    """
    K, S, D = near.size, *grid
    R = 2 * D + 1
    steps = S + 2 * D
    # The segments that a cell passes over, from the lowest place of its lower edge on.
    at = S // 2 + S * jnp.arange(K) + jnp.arange(steps)[:, None]
    rows = jnp.stack([*segments.moments, segments.points])
    passed = seen_from(near, unpack(rows[:, at]))

    def extend(carry: Moments, step: tuple) -> tuple[Moments, tuple]:
        number, segment = step
        begun = number >= jnp.arange(R)
        weight, mean, error = (leaf[:, None] for leaf in segment)
        carry = merge(carry, Moments(weight * begun, mean, error * begun))
        return carry, (jnp.where(carry.weight > 0, carry.error, jnp.inf), carry.mean)

    nothing = Moments(*(jnp.zeros((K, R)) for _ in range(3)))
    _, (costs, means) = jax.lax.scan(extend, nothing, (jnp.arange(steps), passed))
    return costs, means
