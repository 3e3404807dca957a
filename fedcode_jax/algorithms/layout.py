"""How the variables of a model lie in the vectors of its groups."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms.groups import Group, members_of
from fedcode_jax.errors import ConfigError

Weights = Any
"""A pytree of float arrays: the variables of a model."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the leaves of one model's weights are laid out in the vectors of its groups.

    Hashable and static: it describes shapes and holds no arrays.

    Attributes:
      treedef: the structure of the weights.
      shapes: shape of every leaf.
      members: for every group, the leaves in it.
      policies: for every group, its policy; a layered group is as many coded ones.
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    members: tuple[tuple[int, ...], ...]
    policies: tuple[str, ...]

    @classmethod
    def of(cls, weights: Weights, groups: Sequence[Group]) -> "Layout":
        """The layout of weights under groups; groups without a variable are left out.

        Args:
          weights: a pytree of float arrays.
          groups: as ``parse`` gives them.

        Returns:
          The layout.

        Raises:
          ConfigError: a leaf that is not of a floating type, weights without leaves, or as of
            ``members_of``.
        """
        paths, treedef = jax.tree_util.tree_flatten_with_path(weights)
        if not paths:
            raise ConfigError("model: it has no weights; there is nothing to train or send")
        for path, leaf in paths:
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise ConfigError(
                    f"model: variable {jax.tree_util.keystr(path)} has type {leaf.dtype}; "
                    "only floating types can be averaged and coded"
                )
        members = members_of([path for path, _ in paths], groups)
        kept: list[tuple[tuple[int, ...], str]] = []
        for member, group in zip(members, groups, strict=True):
            if group.policy == "layered":
                kept += [((i,), "coded") for i in member]
            elif member:
                kept.append((member, group.policy))
        return cls(
            treedef,
            tuple(jnp.shape(leaf) for _, leaf in paths),
            tuple(m for m, _ in kept),
            tuple(policy for _, policy in kept),
        )

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """For every group, the number of values of each variable in it."""
        return tuple(tuple(math.prod(self.shapes[i]) for i in m) for m in self.members)

    def split(self, weights: Weights) -> tuple[jax.Array, ...]:
        """The vector f32[n_g] of every group."""
        leaves = jax.tree.leaves(weights)
        return tuple(_joined([leaves[i] for i in m]) for m in self.members)

    def join(self, vectors: Sequence[jax.Array]) -> Weights:
        """The weights whose groups' vectors are ``vectors``: the inverse of ``split``."""
        leaves: list = [None] * len(self.shapes)
        for member, vector in zip(self.members, vectors, strict=True):
            position = 0
            for i in member:
                size = math.prod(self.shapes[i])
                leaves[i] = vector[position : position + size].reshape(self.shapes[i])
                position += size
        return jax.tree.unflatten(self.treedef, leaves)


def _joined(leaves: Sequence[jax.Array]) -> jax.Array:
    """All values in one vector.

    XLA:CPU computes a concatenation that is fused with reshapes value by value: twenty times
    slower than writing the parts into place.
    """
    vector = jnp.zeros(sum(jnp.size(leaf) for leaf in leaves), jnp.result_type(*leaves))
    position = 0
    for leaf in leaves:
        vector = jax.lax.dynamic_update_slice(vector, jnp.ravel(leaf), (position,))
        position += jnp.size(leaf)
    return vector


def trainable(weights: Weights) -> Weights:
    """The collection that optimisers act on; all of a tree that has no collections."""
    return weights["params"] if _has_collections(weights) else weights


def with_trainable(weights: Weights, params: Weights) -> Weights:
    """The weights with other params."""
    return {**weights, "params": params} if _has_collections(weights) else params


def _has_collections(weights: Weights) -> bool:
    return isinstance(weights, Mapping) and "params" in weights
