"""The variables of clients as rows of a matrix: one kernel moves them, however many leaves."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Matrices = dict[str, jax.Array]
"""By type of number: [clients, values of that type]."""


class Rows(NamedTuple):
    """How a tree is laid in rows; static.

    Attributes:
      treedef: its structure.
      leaves: shapes and types of one client's leaves.
    """

    treedef: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @classmethod
    def like(cls, tree: Any) -> "Rows":
        """The rows of a tree of one client, or of its shapes.

        Example:
          >>> tree = {"a": jnp.ones((3, 2)), "n": jnp.arange(3), "w": jnp.zeros((3, 4))}
          >>> rows = Rows.like(jax.tree.map(lambda leaf: leaf[0], tree))
          >>> {kind: matrix.shape for kind, matrix in rows.matrices(tree).items()}
          {'float32': (3, 6), 'int32': (3, 1)}
          >>> jax.tree.map(jnp.shape, rows.tree(rows.matrices(tree)))
          {'a': (3, 2), 'n': (3,), 'w': (3, 4)}
        """
        leaves, treedef = jax.tree.flatten(tree)
        return cls(treedef, tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves))

    def matrices(self, tree: Any) -> Matrices:
        """A tree with a leading axis of clients as matrices."""
        parts: dict[str, list[jax.Array]] = {}
        for leaf in self.treedef.flatten_up_to(tree):
            parts.setdefault(leaf.dtype.name, []).append(leaf.reshape(leaf.shape[0], -1))
        return {kind: jnp.concatenate(leaves, axis=1) for kind, leaves in parts.items()}

    def tree(self, matrices: Matrices) -> Any:
        """The inverse of ``matrices``."""
        places = dict.fromkeys(matrices, 0)
        leaves = []
        for leaf in self.leaves:
            kind, first = leaf.dtype.name, places[leaf.dtype.name]
            places[kind] = first + leaf.size
            part = matrices[kind][:, first : places[kind]]
            leaves.append(part.reshape(part.shape[0], *leaf.shape))
        return self.treedef.unflatten(leaves)
