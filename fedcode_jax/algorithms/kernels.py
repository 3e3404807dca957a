"""The kernels of a model apart from the rest, for methods that train them in another form."""

from collections.abc import Sequence

import jax

from fedcode_jax.algorithms.layout import Layout, Weights, kinds_of, parse, trainable
from fedcode_jax.errors import ConfigError

GROUPS = "layers"
"""Of ``Layout``: each kernel a group by itself, in the order of ``kernels_of``, then the rest."""


def kernels_of(params: Weights) -> tuple[jax.Array, ...]:
    """The kernels of a trained collection, in the order of its leaves.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"head": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
      >>> [kernel.shape for kernel in kernels_of(params)]
      [(2, 3)]
    """
    leaves = jax.tree.leaves(params)
    return tuple(leaf for leaf, is_one in zip(leaves, _are_kernels(params), strict=True) if is_one)


def with_kernels(params: Weights, kernels: Sequence[jax.Array]) -> Weights:
    """The collection with other kernels, in the order of ``kernels_of``."""
    leaves, treedef = jax.tree.flatten(params)
    left = iter(kernels)
    chosen = [
        next(left) if is_one else leaf
        for leaf, is_one in zip(leaves, _are_kernels(params), strict=True)
    ]
    return jax.tree.unflatten(treedef, chosen)


def layout_of(weights: Weights) -> Layout:
    """How a model is laid in vectors, one for each kernel and one for all the rest.

    Raises:
      ConfigError: a model without kernels, or with variables that are neither trained nor running
        statistics.
    """
    layout = Layout.of(weights, parse(GROUPS))
    kernels = layout.policies.count("coded")
    trained = len(kernels_of(trainable(weights)))
    if not trained or kernels != trained:
        raise ConfigError(
            f"algorithm.name: of {kernels} kernels of the model {trained} are trained; this method "
            "needs one at least, and no variables beside params and batch_stats; use fedavg"
        )
    return layout


def straight_through(value: jax.Array, through: jax.Array) -> jax.Array:
    """The value, bitwise where it is finite, whose gradient is that of ``through``.

    Source: Bengio et al., arXiv 1308.3432, the straight-through estimator.

    Example:
      >>> import jax.numpy as jnp
      >>> jax.value_and_grad(lambda x: straight_through(jnp.sign(x), 3 * x))(0.2)
      (Array(1., dtype=float32, weak_type=True), Array(3., dtype=float32, weak_type=True))
    """
    return value + (through - jax.lax.stop_gradient(through))


def _are_kernels(params: Weights) -> list[bool]:
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    return [kind == "kernel" for kind in kinds_of(paths)]
