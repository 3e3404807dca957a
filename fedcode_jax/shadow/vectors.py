"""Weights as vectors of groups, and their mean over clients, in NumPy."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fedcode_jax.algorithms import Layout
from fedcode_jax.shadow.findings import Pair


def split(layout: Layout, weights: Any, precision: Any = np.float64) -> list[np.ndarray]:
    """The vector of every group of a layout."""
    leaves = [np.asarray(leaf, precision).reshape(-1) for leaf in jax.tree.leaves(weights)]
    return [np.concatenate([leaves[i] for i in member]) for member in layout.members]


def joined(layout: Layout, vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The leaves that groups make up, flat, in the order of the weights' tree."""
    leaves: list[Any] = [None] * len(layout.shapes)
    for member, vector, sizes in zip(layout.members, vectors, layout.sizes, strict=True):
        ends = np.cumsum(sizes)[:-1]
        for i, part in zip(member, np.split(vector, ends), strict=True):
            leaves[i] = part
    return leaves


def mean(values: Any, counted: np.ndarray) -> Pair:
    """sum_i N_i v_i / sum_i N_i, twice.

    Args:
      values: f32[M, n].
      counted: N_i[M], 0 for clients that do not count, of which one does.

    Example:
      >>> mean(np.array([[0.0, 1.0], [4.0, 1.0]]), np.array([3, 1])).double.tolist()
      [1.0, 1.0]
    """

    def of(precision: Any) -> np.ndarray:
        there = counted > 0
        shares = counted[there].astype(precision) / precision(counted.sum())
        return shares @ np.asarray(values)[there].astype(precision)

    return Pair(of(np.float64), of(np.float32))
