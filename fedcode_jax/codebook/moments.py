"""Moments of sets of atoms, and of the segments between ends, without loss of digits.

Differences of global running sums of x and x^2 lose all digits of a small cell in float32. Here
sets are known by weight, mean, and error about the mean, which can be merged with no subtraction
of large numbers (Chan, Golub and LeVeque, 1983). They cannot be subtracted; a binary tree over the
atoms takes the place of running sums. Means are distances from a point nearby, because a narrow
cell far from zero would lose its digits to its place.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.condense import Atoms
from fedcode_jax.codebook.numerics import prefix_sum
from fedcode_jax.targets import CPU

_CHUNK_DEPTH = 9
_ATOMS_PER_SEGMENT = 16  # on one core, above as many the tree is faster
_LANES = 4
_COMPARED = 2**28  # pairs of an atom and a segment that accelerators look at in a pass


class Moments(NamedTuple):
    """Of any number of sets of atoms: f32[...] weight, mean, and squared error about the mean.

    The mean is the distance from a point that the context says.
    """

    weight: jax.Array
    mean: jax.Array
    error: jax.Array


class Sets(NamedTuple):
    """Sets of atoms: their moments, and the points f32[...] from which their means are measured."""

    moments: Moments
    points: jax.Array


class Tree(NamedTuple):
    """A binary tree over A atoms; P is the next power of two from A.

    Attributes:
      rows: f32[4, 2 P], weight, mean, error and first atom of each node: one array, for one gather.
        Node i has the children 2 i and 2 i + 1; atom i is node P + i.
    """

    rows: jax.Array


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the unions of sets, pair by pair."""
    weight = a.weight + b.weight
    share = b.weight / jnp.where(weight > 0, weight, 1)
    apart = b.mean - a.mean
    error = a.error + b.error + apart * apart * a.weight * share
    return Moments(weight, a.mean + apart * share, error)


def unpack(rows: jax.Array) -> Sets:
    """Sets from f32[4, ...], as in a tree."""
    return Sets(Moments(*rows[:3]), rows[3])


def seen_from(points: jax.Array, sets: Sets) -> Moments:
    """The moments of sets, their means measured from other points f32[...]."""
    return sets.moments._replace(mean=(sets.points - points) + sets.moments.mean)


def make_tree(atoms: Atoms) -> Tree:
    """The moments of all nodes of a binary tree over the atoms."""
    depth = (atoms.positions.size - 1).bit_length()
    size = atoms.positions.size
    zeros = jnp.zeros_like(atoms.weights)
    leaves = jnp.stack([atoms.weights, zeros, zeros, atoms.positions])
    leaves = jnp.pad(leaves, [(0, 0), (2**depth, 2**depth - size)])
    chunk = 2 ** min(depth, _CHUNK_DEPTH)

    def grow(number: jax.Array, rows: jax.Array) -> jax.Array:
        # From the leaves up, chunk by chunk; the first chunk lies above itself, and is done as
        # often as it has levels.
        at = jnp.maximum(2**depth - chunk * (number + 1), 0)
        children = jax.lax.dynamic_slice(rows, (0, 2 * at), (4, 2 * chunk)).reshape(4, chunk, 2)
        left, right = unpack(children[:, :, 0]), unpack(children[:, :, 1])
        parents = merge(left.moments, seen_from(left.points, right))
        return jax.lax.dynamic_update_slice(rows, jnp.stack([*parents, left.points]), (0, at))

    return Tree(jax.lax.fori_loop(0, 2**depth // chunk + _CHUNK_DEPTH, grow, leaves))


def measure(tree: Tree, ends: jax.Array) -> Sets:
    """The moments of the segments between successive ends.

    Args:
      tree: of the atoms.
      ends: i32[G + 1], ascending from 0 to the number of atoms; equal ends enclose nothing.

    Returns:
      G sets, each seen from its first atom. Of an empty one, the moments are 0.
    """
    leaves = tree.rows.shape[1] // 2
    points = tree.rows[3].at[ends[:-1] + leaves].get(mode="clip")
    at_stop = jnp.array([[0], [1]])

    def climb(_: int, carry: tuple) -> tuple:
        # A segment is the union of few nodes: at each level, at most one at either end.
        ends, total = carry
        wanted = (ends & 1) * (ends[0] < ends[1])
        nodes = tree.rows.at[:, ends - at_stop].get(mode="clip")
        weight, mean, error = seen_from(points, unpack(nodes))
        total = merge(total, Moments(weight * wanted, mean, error * wanted))
        return (ends + 1 - at_stop) >> 1, total

    both = jnp.stack([ends[:-1], ends[1:]]) + leaves
    total = Moments(*(jnp.zeros(both.shape) for _ in range(3)))
    _, total = jax.lax.fori_loop(0, leaves.bit_length(), climb, (both, total))
    first, last = (Moments(*(x[side] for x in total)) for side in range(2))
    return Sets(merge(first, last), points)


def measured(atoms: Atoms, num_segments: int, target: str) -> Callable[..., Sets]:
    """How to measure segments of the atoms, time and again, the cheaper way.

    None of the ways subtracts one large sum from another. On a CPU few atoms are scattered into
    their segments, which costs as much as there are atoms. Accelerators compare every atom with
    every segment, in one pass. Of many atoms, a tree knows most segments already, at a cost that
    grows with the number of segments.

    Args:
      atoms: the atoms.
      num_segments: G, how many segments there mostly will be; static.
      target: the kind of machine.

    Returns:
      A function of ends i32[G + 1], and of ``crowded``, as `scatter_measure` takes them, that
      returns G sets.
    """
    size = atoms.positions.size
    if target == CPU and size <= _ATOMS_PER_SEGMENT * num_segments:
        return partial(scatter_measure, atoms)
    if target != CPU and size * num_segments <= _COMPARED:
        return lambda ends, crowded=False: compare_measure(atoms, ends)
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
    at = prefix_sum(begun, CPU)[1:].astype(jnp.int32)
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

    return _about_first(total(w), total(pull), total(pull * above), points)


def compare_measure(atoms: Atoms, ends: jax.Array) -> Sets:
    """The same as ``scatter_measure``, in one pass that compares each atom with each segment."""
    x, w, _ = atoms
    at = jnp.arange(x.size)
    points = x[jnp.minimum(ends[:-1], x.size - 1)]
    inside = (at >= ends[:-1, None]) & (at < ends[1:, None])
    weight = jnp.where(inside, w, 0)
    above = x - points[:, None]
    pull = weight * above
    total, first, second = (jnp.sum(terms, axis=1) for terms in (weight, pull, pull * above))
    return _about_first(total, first, second, points)


def _about_first(weight: jax.Array, first: jax.Array, second: jax.Array, points: jax.Array) -> Sets:
    """Sets from sums of w, w d and w d^2, with d the distance from their first atoms.

    All atoms lie on one side of the first, so their squares are not much above the error.
    """
    mean = first / jnp.where(weight > 0, weight, 1)
    return Sets(Moments(weight, mean, jnp.maximum(second - first * mean, 0)), points)
