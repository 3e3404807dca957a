"""Cells: a partition of the atoms into intervals, and the moments of each.

The sums behind a cell's mean and error differ by many magnitudes from the same sums taken from the
first atom on, so differences of global running sums of x and x^2 lose all digits in float32. Here
the running sums are of residuals to a reference inside each cell, and a boundary moved by a cell
or two changes only sums of that cell's own magnitude.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.atoms import Atoms
from fedcode_jax.codebook.numerics import prefix_sum


class Cells(NamedTuple):
    """K intervals of atoms.

    Attributes:
      edges: i32[K + 1], strictly ascending from 0 to the number of atoms: cell j holds the atoms
        ``edges[j]`` to ``edges[j + 1] - 1``.
      references: f32[K], a point inside each cell.
      running: f32[3, A + 1], running sums of w, w r and w r^2, where r is an atom's distance from
        the reference of its cell.
    """

    edges: jax.Array
    references: jax.Array
    running: jax.Array

    def moments(self) -> jax.Array:
        """The sums of w, w r and w r^2 of each cell, f32[3, K]."""
        at = self.running[:, self.edges]
        return at[:, 1:] - at[:, :-1]


def make_cells(atoms: Atoms, edges: jax.Array) -> Cells:
    """Measures the residuals of the cells between the edges.

    Args:
      atoms: the atoms.
      edges: i32[K + 1], strictly ascending.

    Returns:
      The cells, each with its middle atom as reference.
    """
    references = atoms.positions[(edges[:-1] + edges[1:]) // 2]
    marks = jnp.zeros_like(atoms.positions).at[edges[1:-1]].add(1.0, mode="drop")
    cell = prefix_sum(marks)[1:].astype(jnp.int32)
    residual = atoms.positions - references[cell]
    first = atoms.weights * residual
    running = prefix_sum(jnp.stack([atoms.weights, first, first * residual]))
    return Cells(edges, references, running)


def shift(moments: jax.Array, distance: jax.Array) -> jax.Array:
    """Moments about a point ``distance`` below the old one: every r grows by ``distance``.

    Args:
      moments: f32[3, ...], sums of w, w r and w r^2.
      distance: f32[...].

    Returns:
      f32[3, ...], sums of w, w (r + d) and w (r + d)^2.
    """
    w, s, q = moments
    return jnp.stack([w, s + w * distance, q + (2 * s + w * distance) * distance])


def errors(moments: jax.Array) -> jax.Array:
    """The squared error about the mean, f32[...], from moments f32[3, ...]."""
    w, s, q = moments
    return jnp.maximum(q - s * s / jnp.where(w > 0, w, 1), 0)


def separate(edges: jax.Array, count: jax.Array) -> jax.Array:
    """Moves edges apart so that each cell keeps at least one atom.

    Args:
      edges: i32[K + 1], ascending, from 0 to ``count``.
      count: i32[], the number of atoms; fewer than K make the result meaningless.

    Returns:
      i32[K + 1], strictly ascending where ``count >= K``.
    """
    order = jnp.arange(edges.size, dtype=jnp.int32)
    apart = jax.lax.cummax(edges - order) + order
    apart = jnp.clip(apart, order, jnp.maximum(count - order[::-1], order))
    return apart.at[0].set(0).at[-1].set(jnp.maximum(count, edges.size - 1))


def move_edges(cells: Cells, edges: jax.Array) -> jax.Array:
    """The moments after moving each edge by at most one cell.

    Args:
      cells: the present cells.
      edges: i32[K + 1], edge j between ``cells.edges[j - 1]`` and ``cells.edges[j + 1]``.

    Returns:
      f32[3, K], moments about ``cells.references``.
    """
    inner, old = edges[1:-1], cells.edges[1:-1]
    moved = cells.running[:, inner] - cells.running[:, old]
    up = inner >= old
    gap = cells.references[1:] - cells.references[:-1]
    # What was passed over lies in the upper cell on the way up, in the lower one on the way down.
    about_upper = jnp.where(up, moved, shift(moved, -gap))
    about_lower = jnp.where(up, shift(moved, gap), moved)
    return cells.moments().at[:, :-1].add(about_lower).at[:, 1:].add(-about_upper)
