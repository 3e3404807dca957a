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

from fedcode_jax.codebook.atoms import Atoms


class Moments(NamedTuple):
    """Of any number of sets of atoms: f32[...] weight, mean, and squared error about the mean.

    The mean is the distance from a point that the context says.
    """

    weight: jax.Array
    mean: jax.Array
    error: jax.Array


class Tree(NamedTuple):
    """A binary tree over A atoms, P the next power of two from A.

    Attributes:
      moments: f32[2 P]: node i has the children 2 i and 2 i + 1, atom i is the leaf P + i.
      points: f32[2 P], the first atom of each node, from which its mean is measured.
    """

    moments: Moments
    points: jax.Array


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the unions of sets, pair by pair."""
    weight = a.weight + b.weight
    share = b.weight / jnp.where(weight > 0, weight, 1)
    apart = b.mean - a.mean
    error = a.error + b.error + apart * apart * a.weight * share
    return Moments(weight, a.mean + apart * share, error)


def make_tree(atoms: Atoms) -> Tree:
    """The moments of all nodes of a binary tree over the atoms."""
    depth = (atoms.positions.size - 1).bit_length()
    missing = (0, 2**depth - atoms.positions.size)
    nothing = jnp.zeros(2**depth)
    weights = jnp.pad(atoms.weights, missing)
    leaves = Tree(Moments(weights, nothing, nothing), jnp.pad(atoms.positions, missing, "edge"))

    def join(inner: Tree) -> Tree:
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), inner, leaves)

    def grow(_: int, inner: Tree) -> Tree:
        # All levels at once, as often as there are levels: the shapes stay the same.
        nodes = join(inner)
        left, right = (jax.tree.map(lambda x, s=side: x[s::2], nodes) for side in range(2))
        return Tree(merge(left.moments, _seen_from(left.points, right)), left.points)

    return join(jax.lax.fori_loop(0, depth, grow, jax.tree.map(jnp.zeros_like, leaves)))


def _seen_from(points: jax.Array, nodes: Tree) -> Moments:
    return nodes.moments._replace(mean=(nodes.points - points) + nodes.moments.mean)


def measure(tree: Tree, ends: jax.Array) -> Tree:
    """The moments of the segments between successive ends.

    Args:
      tree: of the atoms.
      ends: i32[G + 1], ascending from 0 to the number of atoms; equal ends enclose nothing.

    Returns:
      Moments f32[G] and the first atom f32[G] of each, from which its mean is measured. Of an
      empty segment, the moments are 0.
    """
    leaves = tree.points.size // 2
    ends = ends + leaves
    points = tree.points.at[ends[:-1]].get(mode="clip")

    def take(total: Moments, node: jax.Array, wanted: jax.Array) -> Moments:
        more = jax.tree.map(lambda x: x.at[node].get(mode="clip"), tree)
        weight, mean, error = _seen_from(points, more)
        return merge(total, Moments(weight * wanted, mean, error * wanted))

    def climb(_: int, carry: tuple) -> tuple:
        # A segment is the union of few nodes: at each level, at most one at either end.
        start, stop, total = carry
        odd_start, odd_stop = start & 1, stop & 1
        total = take(total, start, (odd_start > 0) & (start < stop))
        start += odd_start
        total = take(total, stop - 1, (odd_stop > 0) & (start < stop))
        return start >> 1, stop >> 1, total

    total = Moments(*(jnp.zeros(ends.size - 1) for _ in range(3)))
    levels = leaves.bit_length()
    return Tree(jax.lax.fori_loop(0, levels, climb, (ends[:-1], ends[1:], total))[2], points)


def take_from(segments: Tree, at: jax.Array, points: jax.Array) -> Moments:
    """The moments of some segments, their means measured from other points."""
    return _seen_from(points, jax.tree.map(lambda x: x[at], segments))
