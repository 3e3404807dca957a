"""Moments of the segments that successive ends cut the atoms into, measured the cheaper way.

Few atoms are scattered into their segments, which costs as much as there are atoms; of many, a
tree knows most segments already, at a cost that grows with the number of segments. Neither
subtracts one large sum from another.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.bin_sums import best_method
from fedcode_jax.codebook.condense import Atoms
from fedcode_jax.codebook.moments import Moments, Sets, make_tree, measure
from fedcode_jax.codebook.numerics import prefix_sum

_ATOMS_PER_SEGMENT = 16  # on one core, above as many the tree is faster
_LANES = 4


def segmenter(atoms: Atoms, num_segments: int) -> Callable[..., Sets]:
    """How to measure so many segments of the atoms, time and again.

    Args:
      atoms: the atoms.
      num_segments: G, how many segments there mostly will be; static.

    Returns:
      A function of ends i32[G + 1], and of ``crowded``, as `scatter_measure` takes them, that
      returns G sets.
    """
    if best_method() == "scatter" and atoms.positions.size <= _ATOMS_PER_SEGMENT * num_segments:
        return partial(scatter_measure, atoms)
    tree = make_tree(atoms)
    return lambda ends, crowded=False: measure(tree, ends)


def scatter_measure(atoms: Atoms, ends: jax.Array, crowded: bool = False) -> Sets:
    """The moments of the segments between successive ends, by scattering.

    Args:
      atoms: the atoms.
      ends: i32[G + 1], ascending from 0 to the number of atoms; equal ends enclose nothing.
      crowded: whether most atoms lie in few of the segments; static. Atoms far apart are then
        scattered in turns, since an addition waits for the one before if both go to one place.

    Returns:
      G sets, each seen from its first atom. Of an empty one, the moments are 0.
    """
    x, w, _ = atoms
    size = ends.size - 1
    begun = jnp.zeros(x.size).at[ends[1:-1]].add(1, mode="drop")
    at = prefix_sum(begun)[1:].astype(jnp.int32)
    points = x[jnp.minimum(ends[:-1], x.size - 1)]
    above = x - points.at[at].get(mode="promise_in_bounds")
    pull = w * above

    def in_turns(terms: jax.Array) -> jax.Array:
        if not crowded:
            return terms
        return jnp.pad(terms, (0, -terms.size % _LANES)).reshape(_LANES, -1).T.reshape(-1)

    places = in_turns(at)

    def total(terms: jax.Array) -> jax.Array:
        return jnp.zeros(size).at[places].add(in_turns(terms), mode="promise_in_bounds")

    # All atoms lie on one side of the first, so their squares are not much above the error.
    weight, first, second = total(w), total(pull), total(pull * above)
    mean = first / jnp.where(weight > 0, weight, 1)
    return Sets(Moments(weight, mean, jnp.maximum(second - first * mean, 0)), points)
