"""Leaving local optima: the best set of edges among candidates near the present ones.

Lloyd's iteration moves each edge to suit its neighbours; a center that a far region lacks comes
only slowly, or never. Here every edge brings S points, at equal steps to both sides of it, any
edge may move to any point up to its neighbours' places, and dynamic programming over the cells
finds the best combination in K S^2 operations. As all edges between two regions may move by a cell
at once, centers travel any distance in few rounds. When all is in its region, each edge chooses
among its own points alone, which takes a quarter of that. It is the exact algorithm for
one-dimensional k-means (Bruce, 1965; Wang and Song, 2011; Grønlund et al., 2017), with the choice
restricted so that shapes are static and the work is small.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.codebook.best_path import best_path
from fedcode_jax.codebook.moments import Sets
from fedcode_jax.codebook.numerics import count_below

_TINY = float(np.finfo(np.float32).tiny)


class Refined(NamedTuple):
    """Edges i32[K + 1], and squared errors, before and after."""

    edges: jax.Array
    before: jax.Array
    after: jax.Array


def refine(
    segments: Callable[..., Sets],
    edges: jax.Array,
    points: int,
    reach: jax.Array,
    scale: jax.Array,
    *,
    target: str,
    far: bool = True,
) -> Refined:
    """The best edges among candidates.

    Args:
      segments: measures the atoms between ends (see `measured`), K S segments.
      edges: i32[K + 1], strictly ascending from 0 to the number of atoms.
      points: S, how many points each edge brings; even.
      reach: f32[], to what share of a cell an edge's points spread, on either side. At most one
        half, when the points of all edges are equally spaced.
      scale: f32[A], ascending, in what the steps inside a cell are equal: the atoms' positions, to
        find the gaps around outliers, or their `density`, for the structure of dense regions.
      target: the kind of machine.
      far: whether an edge may move to the points of its neighbours as well; static.

    Returns:
      What is best. The present edges are among the candidates, so the error does not grow.
    """
    K, S = edges.size - 1, points
    stay = S if far else S // 2  # the present edge, among its places
    inner = _points(scale, edges, S, reach, target)[S // 2 : S // 2 + K * S + 1]
    # An edge's own points may lie close together, with most atoms between those of two edges.
    costs = _intervals(segments(inner, crowded=not far), S, far)

    places, least = best_path(costs, stay, target)
    moved = inner[jnp.maximum(jnp.arange(K) * S + places - stay, 0)]
    moved = jnp.concatenate([moved, edges[-1:]])
    return Refined(moved, jnp.sum(costs[:, stay, stay]), least)


def _points(scale: jax.Array, edges: jax.Array, S: int, reach: jax.Array, target: str) -> jax.Array:
    """The points that the edges bring, i32[(K + 1) * S], ascending; S / 2 of each are below it."""
    step = jnp.arange(-S // 2, S // 2)
    below = step < 0
    part = jnp.where(below, 1, 0) + step * (2 * reach / S)
    at = jnp.arange(edges.size)[:, None] - below
    start, stop = edges[jnp.maximum(at, 0)], edges[jnp.minimum(at + 1, edges.size - 1)]
    low, high = scale[jnp.minimum(start, scale.size - 1)], scale[jnp.maximum(stop - 1, start)]
    found = count_below(scale, low + part * (high - low), (start, stop), target=target)
    return jnp.where(part > 0, found, start).reshape(-1)


def _intervals(segments: Sets, S: int, far: bool) -> jax.Array:
    """Every cell between any of the R places of its lower edge and any of its upper edge.

    The places are the present one and S to either side of it, or only S / 2, which are its own.

    A cell is what it was, with segments of its neighbours added and some of its own taken away.
    Sums of distances and squares are about the present mean of the cell: what is taken away from
    them is part of the present error, and what is added costs about as much as it adds, so no
    digits are lost that matter. But for a cell that moves to a neighbour's place altogether, across
    a gap perhaps: it is measured there.

    Args:
      segments: of the points, S for each cell.
      S: see above.
      far: whether there are S places to either side.

    Returns:
      Squared errors f32[K, R, R] by cell, place of the lower edge and place of the upper edge;
      infinite where nothing lies between.
    """
    weight, mean, error = (_with_neighbours(x, S) for x in segments.moments)
    points = _with_neighbours(segments.points, S)
    near = points[:, S : S + 1]
    mean = (points - near) + mean
    own = slice(S, 2 * S)
    total = jnp.sum(weight[:, own], axis=1, keepdims=True)
    center = jnp.sum((weight * mean)[:, own], axis=1, keepdims=True) / jnp.maximum(total, _TINY)
    away = mean - center
    pull = weight * away
    part = slice(None) if far else slice(S // 2, S // 2 + S + 1)
    matrix = np.concatenate([edge[:, part] for edge in _from_edges(S)], axis=1)
    sums = jnp.stack([weight, pull, pull * away + error])
    sums = jnp.matmul(sums, matrix, precision=jax.lax.Precision.HIGHEST)
    lower, upper = jnp.split(sums, 2, axis=2)
    place = np.arange(upper.shape[2])
    costs = _error(lower[:, :, :, None] + upper[:, :, None], place[:, None] < place + S)
    if not far:
        return costs
    # All of the cell is given up, for the end of the one before it or the beginning of the next.
    within = upper[:, :, : S + 1]
    nothing = jnp.full((1, S), jnp.inf)
    ends = _error(within[:, :, -1:] - within[:, :, :S])
    begins = _error(within[:, :, 1:])
    costs = costs.at[:, :S, 0].set(jnp.concatenate([nothing, ends[:-1]]))
    return costs.at[:, 2 * S, S + 1 :].set(jnp.concatenate([begins[1:], nothing]))


def _with_neighbours(x: jax.Array, S: int) -> jax.Array:
    """What belongs to each cell, between what belongs to the ones beside it: f32[K, 3 S]."""
    rows = jnp.pad(x, S).reshape(-1, S)
    return jnp.concatenate([rows[:-2], rows[1:-1], rows[2:]], axis=1)


def _from_edges(S: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums from each place to the cell: f32[3 S, 2 S + 1] by segment and place, for both edges.

    Of the lower edge, over the segments of the cell before and of the cell, to be taken away where
    the place is within it; of the upper edge, over those of the cell and of the next.
    """
    segment, place = np.arange(3 * S)[:, None], np.arange(2 * S + 1)
    added = (segment >= place) & (segment < S)
    taken_away = (segment < place) & (segment >= S)
    upper = (segment < place + S) & (segment >= S)
    return (added * 1.0 - taken_away).astype(np.float32), upper.astype(np.float32)


def _error(sums: jax.Array, allowed: np.ndarray | bool = True) -> jax.Array:
    """The squared error about the mean, of sums f32[3, ...]; infinite where there is no weight."""
    weight, pull, square = sums
    error = jnp.maximum(square - pull * pull / jnp.maximum(weight, _TINY), 0)
    return jnp.where((weight > 0) & allowed, error, jnp.inf)
