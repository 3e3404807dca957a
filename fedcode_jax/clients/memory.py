"""What a client's training takes on a device, before anything is compiled."""

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax.clients.training import LocalTraining


def client_bytes(training: LocalTraining, weights: Any, sample_shape: Sequence[int]) -> int:
    """An upper estimate of what one client of a chunk needs while it trains.

    The values that one step's forward pass leaves for the backward pass, twice the largest of
    them as working space, and three times the weights with the optimiser's state beside them.
    XLA needs less where it computes a value again instead of keeping it: half, for a ResNet
    with native convolutions.

    Args:
      training: what a client does.
      weights: the variables of the model, or their shapes.
      sample_shape: of one sample, without the batch.

    Returns:
      Bytes.

    Example:
      >>> from fedcode_jax import models
      >>> from fedcode_jax.clients import optimizer
      >>> training = LocalTraining(models.mlp(10), optimizer("sgd", 0.1), batch_size=10)
      >>> shapes = jax.eval_shape(lambda key: models.init(training.model, key, (64,)),
      ...                         jax.random.key(0))
      >>> client_bytes(training, shapes, (64,))
      74258
    """
    params = weights["params"]
    state = {name: value for name, value in weights.items() if name != "params"}

    def kept(params: Any, state: Any, x: jax.Array, y: jax.Array, mask: jax.Array) -> Any:
        key = jax.random.key(0)
        return jax.vjp(lambda p: training.loss(p, state, p, x, y, mask, key)[0], params)[1]

    batch = training.batch_size
    shape = jax.ShapeDtypeStruct
    residuals = jax.eval_shape(
        kept,
        params,
        state,
        shape((batch, *sample_shape), jnp.float32),
        shape((batch,), jnp.int32),
        shape((batch,), jnp.bool_),
    )
    sizes = [_bytes(leaf) for leaf in jax.tree.leaves(residuals)]
    optimizer = tree_bytes(jax.eval_shape(training.optimizer.init, params))
    return sum(sizes) + 2 * max(sizes, default=0) + 3 * tree_bytes(weights) + optimizer


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a pytree, or of their shapes."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _bytes(leaf: Any) -> int:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 8 * leaf.size
    return leaf.size * leaf.dtype.itemsize


def free_bytes() -> int | None:
    """Memory that one device has left, in bytes: its own, or a core's share of the machine's.

    Returns:
      None where the platform does not tell.
    """
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    if device.platform == "cpu" and hasattr(os, "sysconf"):
        pages = os.sysconf("SC_AVPHYS_PAGES")
        return pages * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()
    return None
