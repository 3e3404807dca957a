"""Leaving local optima: the best set of edges among candidates near the present ones.

Lloyd's iteration moves each edge to suit its neighbours; a center that a far region lacks comes
only slowly, or never. Here every edge brings S points, at equal steps to both sides of it, any
edge may move to any point up to its neighbours' places, and dynamic programming over the cells
finds the best combination in K S^2 operations. As all edges between two regions may move by a cell
at once, centers travel any distance in few rounds. It is the exact algorithm for one-dimensional
k-means (Bruce, 1965; Wang and Song, 2011; Grønlund et al., 2017), with the choice restricted so
that shapes are static and the work is small.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.codebook.cells import Moments, Sets
from fedcode_jax.codebook.numerics import count_below

_TINY = float(np.finfo(np.float32).tiny)


class Refined(NamedTuple):
    """Edges i32[K + 1], and squared errors, before and after."""

    edges: jax.Array
    before: jax.Array
    after: jax.Array


def refine(
    segments: Callable[[jax.Array], Sets],
    edges: jax.Array,
    points: int,
    reach: jax.Array,
    scale: jax.Array,
) -> Refined:
    """The best edges among candidates.

    Args:
      segments: measures the atoms between ends (see `segmenter`), K S segments.
      edges: i32[K + 1], strictly ascending from 0 to the number of atoms.
      points: S, how many points each edge brings; even.
      reach: f32[], to what share of a cell an edge's points spread, on either side. At most one
        half, when the points of all edges are equally spaced.
      scale: f32[A], ascending, in what the steps inside a cell are equal: the atoms' positions, to
        find the gaps around outliers, or their `density`, for the structure of dense regions.

    Returns:
      What is best. The present edges are among the candidates, so the error does not grow.
    """
    K, S = edges.size - 1, points
    R = 2 * S + 1
    inner = _points(scale, edges, S, reach)[S // 2 : S // 2 + K * S + 1]
    costs = _intervals(segments(inner), S)

    def forward(best: jax.Array, cost: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.min(best[:, None] + cost, axis=0), best

    def backward(end: jax.Array, at: tuple) -> tuple[jax.Array, jax.Array]:
        cell, cost, best = at
        start = jnp.argmin(best + cost[:, end]).astype(jnp.int32)
        return start, inner[jnp.maximum(cell * S + start - S, 0)]

    stays = jnp.int32(S)
    last, bests = jax.lax.scan(forward, jnp.full(R, jnp.inf).at[S].set(0), costs)
    _, moved = jax.lax.scan(backward, stays, (jnp.arange(K), costs, bests), reverse=True)
    moved = jnp.concatenate([moved, edges[-1:]])
    return Refined(moved, jnp.sum(costs[:, S, S]), last[S])


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


def _intervals(segments: Sets, S: int) -> jax.Array:
    """Every cell between any of the R = 2 S + 1 places of its lower edge and any of its upper edge.

    A cell is what it was, with segments of its neighbours added and some of its own taken away.
    Sums of distances and squares are about the present mean of the cell: what is taken away from
    them is part of the present error, and what is added costs about as much as it adds, so no
    digits are lost that matter. But for a cell that moves to a neighbour's place altogether, across
    a gap perhaps: it is measured there.

    Args:
      segments: of the points, S for each cell.
      S: see above.

    Returns:
      Squared errors f32[K, R, R] by cell, place of the lower edge and place of the upper edge;
      infinite where nothing lies between.
    """
    weight, mean, error = (x.reshape(-1, S) for x in segments.moments)
    points = segments.points.reshape(-1, S)
    near = points[:, :1]
    mean = (points - near) + mean
    center = jnp.sum(weight * mean, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), _TINY)
    step = jnp.diff(near, axis=0)
    next_ones = Moments(weight[1:], mean[1:] + step, error[1:])
    last_ones = Moments(weight[:-1], mean[:-1] - step, error[:-1])
    within = _running(Moments(weight, mean, error), center)
    later = _running(Moments(*(jnp.pad(x, ((0, 1), (0, 0))) for x in next_ones)), center)
    before = _running(Moments(*(jnp.pad(x[:, ::-1], ((1, 0), (0, 0))) for x in last_ones)), center)
    lower = jnp.concatenate([before[:, :, :0:-1], -within], axis=2)
    upper = jnp.concatenate([within, within[:, :, -1:] + later[:, :, 1:]], axis=2)
    costs = _error(lower[:, :, :, None] + upper[:, :, None])
    place = np.arange(2 * S + 1)
    costs = jnp.where(place[:, None] < place + S, costs, jnp.inf)
    # All of the cell is given up, for the end of the one before it or the beginning of the next.
    nothing = jnp.full((1, S), jnp.inf)
    ends = _error(within[:, :, -1:] - within)[:, :S]
    begins = _error(within)[:, 1:]
    costs = costs.at[:, :S, 0].set(jnp.concatenate([nothing, ends[:-1]]))
    return costs.at[:, 2 * S, S + 1 :].set(jnp.concatenate([begins[1:], nothing]))


def _running(moments: Moments, center: jax.Array) -> jax.Array:
    """Sums f32[3, K, S + 1] of weight, distance from the center and its square, from 0 on."""
    weight, mean, error = moments
    away = mean - center[:, None]
    pull = weight * away
    sums = jnp.stack([weight, pull, pull * away + error])
    S = weight.shape[1]
    earlier = np.triu(np.ones((S, S + 1), np.float32), 1)
    return jnp.matmul(sums, earlier, precision=jax.lax.Precision.HIGHEST)


def _error(sums: jax.Array) -> jax.Array:
    """The squared error about the mean, of sums f32[3, ...]; infinite where there is no weight."""
    weight, pull, square = sums
    there = weight > 0
    error = jnp.maximum(square - pull * pull / jnp.where(there, weight, 1), 0)
    return jnp.where(there, error, jnp.inf)
