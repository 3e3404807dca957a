"""Leaving local optima: the best set of edges among candidates near the present ones.

Lloyd's iteration moves each edge to suit its neighbours; a center that a far region lacks comes only
slowly, or never. Here every edge has R candidates, at equal steps within a few cells of where it is, and
dynamic programming over the cells finds the best combination in K R^2 operations. As all edges between
two regions may move by a cell or two at once, centers travel any distance in one round. It is the exact
algorithm for one-dimensional k-means (Bruce, 1965; Wang and Song, 2011; Grønlund et al., 2017), with
the choice restricted so that shapes are static and the work is small.
"""

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.cells import Cells, shift


def refine(cells: Cells, reach: jax.Array, half: int) -> jax.Array:
    """The best edges among candidates.

    The present edges are always among the candidates, so the error does not grow (beyond rounding).

    Args:
      cells: the present cells.
      reach: f32[], how far an edge may move, in cells; at most 2.
      half: candidates on each side of the present edge: R = 2 half + 1.

    Returns:
      i32[K + 1] edges.
    """
    index, below, above = _candidates(cells, reach, half)
    whole = cells.moments()
    # Cell j between candidate a of edge j and b of edge j + 1 has the moments left[a] + right[b].
    left = whole[:, :, None] - above[:, :-1]
    right = below[:, 1:]
    per_cell = (jnp.moveaxis(left, 1, 0), jnp.moveaxis(right, 1, 0), index[:-1], index[1:])

    def cost(cell: tuple) -> jax.Array:
        left, right, start, stop = cell
        w, s, q = left[:, :, None] + right[:, None, :]
        feasible = start[:, None] < stop[None, :]
        return jnp.where(feasible, jnp.maximum(q - s * s / jnp.maximum(w, 1e-30), 0), jnp.inf)

    def forward(best: jax.Array, cell: tuple) -> tuple[jax.Array, jax.Array]:
        return jnp.min(best[:, None] + cost(cell), axis=0), best

    def backward(choice: jax.Array, cell: tuple) -> tuple[jax.Array, jax.Array]:
        (left, right, start, stop), best = cell
        one = (left, right[:, choice][:, None], start, stop[choice][None])
        choice = jnp.argmin(best + cost(one)[:, 0]).astype(jnp.int32)
        return choice, start[choice]

    last, bests = jax.lax.scan(forward, jnp.zeros(2 * half + 1), per_cell)
    final = jnp.argmin(last).astype(jnp.int32)
    _, edges = jax.lax.scan(backward, final, (per_cell, bests), reverse=True)
    return jnp.concatenate([edges, cells.edges[-1:]])


def _candidates(cells: Cells, reach: jax.Array, half: int) -> tuple:
    """Candidates of every edge, and the signed moments of what lies between.

    Returns:
      index i32[K + 1, R], and the moments of the atoms from the edge to the candidate (negative for
      candidates below it), f32[3, K + 1, R], about the reference of the cell below the edge and of
      the cell above it. The outer edges have only themselves, R times.
    """
    edges, references = cells.edges, cells.references
    K = references.size
    offset = jnp.arange(-half, half + 1) * (reach / half)
    whole_cells = jnp.clip(jnp.floor(offset), -2, 1)
    part = offset - whole_cells
    whole_cells = whole_cells.astype(jnp.int32)

    own = jnp.clip(jnp.arange(K + 1), 0, K - 1)  # the cell above each edge
    target = jnp.clip(own[:, None] + whole_cells, 0, K - 1)  # the cell that the candidate lies in
    length = (edges[1:] - edges[:-1])[target]
    index = edges[target] + jnp.floor(part * length).astype(jnp.int32)
    index = jnp.clip(index, edges[0], edges[-1])
    partial = cells.running[:, index] - cells.running[:, edges[target]]
    partial = shift(partial, references[target] - references[own][:, None])

    # From the edge over whole cells to the start of the target cell.
    moments = cells.moments()

    def between(cell: jax.Array) -> jax.Array:
        near = jnp.clip(cell, 0, K - 1)
        return shift(moments[:, near], references[near] - references[own])

    up = between(own)
    down = -between(own - 1)
    passed = jnp.stack([down + -between(own - 2), down, jnp.zeros_like(up), up], axis=-1)
    above = partial + passed[:, :, whole_cells + 2]
    gap = jnp.diff(references, prepend=references[:1])[own]
    below = shift(above, gap[:, None])

    order = jnp.arange(K + 1)
    reachable = (order[:, None] + offset >= 0) & (order[:, None] + offset <= K)
    inner = (order > 0) & (order < K)
    valid = reachable & inner[:, None]
    # What cannot be reached stands in for the present edge.
    index = jnp.where(valid, index, edges[:, None])
    return index, jnp.where(valid, below, 0), jnp.where(valid, above, 0)
