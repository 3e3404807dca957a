"""Moments of sets of atoms, without loss of digits.

Differences of global running sums of x and x^2 lose all digits of a small cell in float32. Here
sets are known by weight, mean, and error about the mean, which can be merged with no subtraction
of large numbers (Chan, Golub and LeVeque, 1983). They cannot be subtracted; a binary tree over the
atoms takes the place of running sums. Means are distances from a point nearby, because a narrow
cell far from zero would lose its digits to its place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax.codebook.condense import Atoms

_CHUNK_DEPTH = 9


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
