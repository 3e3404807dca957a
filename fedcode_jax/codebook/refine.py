"""Leaving local optima: the best set of edges among candidates near the present ones.

Lloyd's iteration moves each edge to suit its neighbours; a center that a far region lacks comes
only slowly, or never. Here every edge has R candidates, at equal steps within a few cells of where
it is, and dynamic programming over the cells finds the best combination in K R^2 operations. As
all edges between two regions may move by a cell or two at once, centers travel any distance in one
round. It is the exact algorithm for one-dimensional k-means (Bruce, 1965; Wang and Song, 2011;
Grønlund et al., 2017), with the choice restricted so that shapes are static and the work is small.
"""

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.atoms import Atoms
from fedcode_jax.codebook.cells import Cells, errors, shift

_REACH = 2  # cells that an edge may pass in one round
_SPANS = 2 * _REACH  # cells in which a candidate may lie


def refine(
    atoms: Atoms, cells: Cells, reach: jax.Array, half: int, by_value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The best edges among candidates.

    The present edges are among the candidates, so the error does not grow (beyond rounding).

    Args:
      atoms: the atoms.
      cells: the present cells.
      reach: f32[], how far an edge may move, in cells; at most 2.
      half: candidates on each side of the present edge: R = 2 half + 1.
      by_value: bool[], whether the steps inside a cell are equal in value or in number of atoms.
        The first finds the gaps around outliers, the second the structure of dense regions.

    Returns:
      i32[K + 1] edges and f32[], their squared error.
    """
    offset = jnp.arange(-half, half + 1) * (reach / half)
    jump = jnp.clip(jnp.floor(offset), -_REACH, _REACH - 1).astype(jnp.int32)
    index, head = _candidates(atoms, cells, offset, jump, by_value)
    reached = _walk(cells, head, jump)
    per_cell = (index[:-1], index[1:], jnp.moveaxis(head, 1, 0)[:-1], jnp.moveaxis(reached, 2, 0))

    def cost(start: jax.Array, stop: jax.Array, head: jax.Array, reached: jax.Array) -> jax.Array:
        content = jnp.moveaxis(reached[jump + _REACH], 1, 0) - head[:, :, None]
        return jnp.where(start[:, None] < stop, errors(content), jnp.inf)

    def forward(best: jax.Array, cell: tuple) -> tuple[jax.Array, jax.Array]:
        return jnp.min(best[:, None] + cost(*cell), axis=0), best

    def backward(choice: jax.Array, cell: tuple) -> tuple[jax.Array, jax.Array]:
        (start, stop, head, reached), best = cell
        column = cost(start, stop[choice][None], head, reached[:, :, choice][:, :, None])
        choice = jnp.argmin(best + column[:, 0]).astype(jnp.int32)
        return choice, start[choice]

    first = jnp.full(2 * half + 1, jnp.inf).at[half].set(0)
    last, bests = jax.lax.scan(forward, first, per_cell)
    chosen = jnp.full((), half, jnp.int32)
    _, edges = jax.lax.scan(backward, chosen, (per_cell, bests), reverse=True)
    return jnp.concatenate([edges, cells.edges[-1:]]), last[half]


def _candidates(
    atoms: Atoms, cells: Cells, offset: jax.Array, jump: jax.Array, by_value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The candidates of every edge; those beyond the outer edges repeat these, of use to no cell.

    Returns:
      index i32[K + 1, R], and f32[3, K + 1, R], the moments of the atoms below the candidate in the
      cell where it lies, about that cell's reference.
    """
    K = cells.references.size
    lies_in = jnp.arange(K + 1)[:, None] + jump
    start = cells.edges[jnp.clip(lies_in, 0, K)]
    stop = cells.edges[jnp.clip(lies_in + 1, 0, K)]
    part = offset - jump
    by_number = start + jnp.floor(part * (stop - start)).astype(jnp.int32)

    def search() -> jax.Array:
        x = atoms.positions
        low, high = x[start], x[jnp.maximum(stop - 1, start)]
        found = jnp.searchsorted(x, low + part * (high - low)).astype(jnp.int32)
        return jnp.where(part > 0, jnp.clip(found, start, stop), start)

    index = jax.lax.cond(by_value, search, lambda: by_number)
    return index, cells.running[:, index] - cells.running[:, start]


def _walk(cells: Cells, head: jax.Array, jump: jax.Array) -> jax.Array:
    """What lies between the start of a cell and each candidate of an edge above it.

    Returns:
      f32[4, 3, K, R]: entry [d, :, j, r] starts at cell j + d - 2, where a candidate of edge j can
      lie, and ends at candidate r of edge j + 1; moments about the reference of the cell where it
      starts. Nothing is subtracted on the way: the sums keep the magnitude of what they describe.
    """
    K = cells.references.size
    whole = jnp.pad(cells.moments(), [(0, 0), (_SPANS, _SPANS)])
    reference = jnp.pad(cells.references, _SPANS, mode="edge")
    cell = jnp.arange(1, K + 1)[:, None] + jump + _SPANS
    moments = head[:, 1:]
    walked = [moments]
    for _ in range(_SPANS):
        moments = whole[:, cell - 1] + shift(moments, reference[cell] - reference[cell - 1])
        walked.append(moments)
        cell = jnp.maximum(cell - 1, 1)
    steps = 1 + jump - (jnp.arange(_SPANS) - _REACH)[:, None]  # [4, R]
    picked = jnp.stack(walked)[jnp.clip(steps, 0, _SPANS), :, :, jnp.arange(jump.size)]
    return jnp.moveaxis(picked, 1, -1)
