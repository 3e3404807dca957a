"""Where to start: edges by the density of centers in an optimal codebook, or by given centers."""

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.condense import Atoms
from fedcode_jax.codebook.numerics import (
    capped_factor,
    count_below,
    cube_root,
    prefix_sum,
)
from fedcode_jax.targets import CPU

_SETTLED = 1.001
_MOST_ROUNDS = 9


def density(atoms: Atoms, num_clusters: int, target: str) -> jax.Array:
    """How many centers an optimal quantiser has up to each atom: point density f^(1/3).

    An atom of weight w with a room of width h to itself gets w^(1/3) h^(2/3) centers, up to a
    factor, but never more than one: that keeps far outliers from drawing all centers into empty
    space. (Starting at quantiles, density f, ends 1.5 to 15 times above the optimum.)

    Args:
      atoms: the atoms, more than K.
      num_clusters: K.
      target: the kind of machine.

    Returns:
      f32[A], ascending, at most K.
    """
    x, w, _ = atoms
    padded = jnp.pad(x, 1, mode="edge")
    wish = cube_root(w, padded[2:] - padded[:-2])
    settled = _settled if target == CPU else capped_factor
    factor = settled(wish, num_clusters)
    return prefix_sum(jnp.minimum(wish * factor, 1), target)[1:]


def _settled(wish: jax.Array, total: int) -> jax.Array:
    """The factor at which wishes of at most 1 each add up to so much, approached from below."""

    def rescale(carry: tuple) -> tuple:
        factor, _, rounds = carry
        full = wish * factor >= 1
        rest, number = jnp.sum(jnp.where(full, 0, wish)), jnp.sum(full * 1.0)
        higher = jnp.maximum((total - number) / jnp.where(rest > 0, rest, 1), factor)
        return higher, higher > factor * _SETTLED, rounds + 1

    def unsettled(carry: tuple) -> jax.Array:
        _, rises, rounds = carry
        return rises & (rounds < _MOST_ROUNDS)

    start = jnp.zeros(()), jnp.bool_(True), jnp.int32(0)
    factor, *_ = jax.lax.while_loop(unsettled, rescale, start)
    return factor


def density_start(
    centers: jax.Array, num_clusters: int, number: jax.Array, target: str
) -> jax.Array:
    """Edges i32[K + 1] at equal steps of the density f32[A] over so many atoms."""
    steps = jnp.arange(1, num_clusters) * (centers[-1] / num_clusters)
    return _close(count_below(centers, steps, target=target), number)


def center_start(atoms: Atoms, centers: jax.Array, target: str) -> jax.Array:
    """Edges half-way between given centers, i32[K + 1]."""
    middles = (centers[:-1] + centers[1:]) / 2
    return _close(count_below(atoms.positions, middles, target=target), atoms.number)


def _close(inner: jax.Array, number: jax.Array) -> jax.Array:
    """Adds the outer edges to inner ones i32[K - 1], and gives each cell at least one atom."""
    edges = jnp.pad(inner, 1)
    order = jnp.arange(edges.size, dtype=jnp.int32)
    apart = jax.lax.cummax(edges - order) + order
    apart = jnp.clip(apart, order, jnp.maximum(number - order[::-1], order))
    return apart.at[-1].set(number)
