"""Where to start, and Lloyd's iteration."""

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.atoms import Atoms
from fedcode_jax.codebook.cells import Cells, move_edges, separate
from fedcode_jax.codebook.numerics import prefix_sum


def density_start(atoms: Atoms, num_clusters: int) -> jax.Array:
    """Edges by the point density of an optimal quantiser, f^(1/3).

    An atom of weight w with a room of width h to itself gets w^(1/3) h^(2/3) centers, up to a
    factor,
    but never more than one: that keeps far outliers from drawing all centers into empty space.
    (Starting at quantiles, density f, ends 1.5 to 15 times above the optimum.)

    Args:
      atoms: the atoms, more than K.
      num_clusters: K.

    Returns:
      i32[K + 1] edges.
    """
    x, w, _ = atoms
    index = jnp.arange(x.size, dtype=jnp.int32)
    below = x[jnp.maximum(index - 1, 0)]
    above = x[jnp.minimum(index + 1, x.size - 1)]
    room = (w > 0) & (above > below)
    log = jnp.log(jnp.where(room, w, 1)) + 2 * jnp.log(jnp.where(room, above - below, 1))
    wish = jnp.where(room, jnp.exp(log / 3), 0)

    def rescale(_: int, factor: jax.Array) -> jax.Array:
        full = wish * factor >= 1
        rest = jnp.sum(jnp.where(full, 0, wish))
        return jnp.maximum((num_clusters - jnp.sum(full)) / jnp.where(rest > 0, rest, 1), factor)

    factor = jax.lax.fori_loop(0, 8, rescale, num_clusters / jnp.maximum(jnp.sum(wish), 1e-30))
    running = prefix_sum(jnp.minimum(wish * factor, 1))[1:]
    steps = jnp.arange(1, num_clusters) * (running[-1] / num_clusters)
    return close(atoms, jnp.searchsorted(running, steps).astype(jnp.int32))


def center_start(atoms: Atoms, centers: jax.Array) -> jax.Array:
    """Edges half-way between given centers, i32[K + 1]."""
    middles = (centers[:-1] + centers[1:]) / 2
    return close(atoms, jnp.searchsorted(atoms.positions, middles, side="right").astype(jnp.int32))


def close(atoms: Atoms, inner: jax.Array) -> jax.Array:
    """Adds the outer edges to inner ones i32[K - 1], and leaves no cell empty."""
    return separate(jnp.pad(inner, 1).at[-1].set(atoms.number), atoms.number)


def lloyd(atoms: Atoms, cells: Cells, edges: jax.Array, steps: int) -> jax.Array:
    """Lloyd's iteration: means, then edges half-way between means, by running sums.

    Edges stay within one cell of where ``cells`` has them.

    Args:
      atoms: the atoms.
      cells: cells that have the needed sums.
      edges: i32[K + 1], where to start.
      steps: how many iterations.

    Returns:
      edges: i32[K + 1].
    """
    lower = jnp.concatenate([cells.edges[:1], cells.edges[:-1]])
    upper = jnp.concatenate([cells.edges[1:], cells.edges[-1:]])

    def step(_: int, edges: jax.Array) -> jax.Array:
        centers = means(cells, edges)
        middles = (centers[:-1] + centers[1:]) / 2
        inner = jnp.searchsorted(atoms.positions, middles, side="right").astype(jnp.int32)
        return jnp.clip(close(atoms, inner), lower, upper)

    return jax.lax.fori_loop(0, steps, step, edges)


def means(cells: Cells, edges: jax.Array) -> jax.Array:
    """The cells' means, f32[K], after moving each edge by at most one cell."""
    w, s, _ = move_edges(cells, edges)
    return cells.references + s / jnp.where(w > 0, w, 1)
