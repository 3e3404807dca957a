"""Accuracy and loss over a whole test set, exactly, in batches that fit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from fedcode_jax.clients import normalise
from fedcode_jax.clients.mesh import AXIS, client_mesh, lay, replicated, spread
from fedcode_jax.clients.training import Weights


class EvaluationData(NamedTuple):
    """A test set cut into equal batches, the last one padded.

    Attributes:
      x: [batches, B, ...features], raw units.
      y: i32[batches, B].
      mask: bool[batches, B], false where the batch is padded.
      mean: f32[channels], of the training set.
      std: f32[channels], of the training set.
    """

    x: jax.Array
    y: jax.Array
    mask: jax.Array
    mean: jax.Array
    std: jax.Array

    @classmethod
    def from_arrays(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        mean: np.ndarray,
        std: np.ndarray,
        batch_size: int = 500,
        devices: int = 1,
    ) -> "EvaluationData":
        """Cuts a test set into batches, as many on each device, pads it and lays it there."""
        n = len(y)
        batches = -(-n // batch_size)
        batches = -(-batches // devices) * devices
        size = -(-n // batches)
        places = np.minimum(np.arange(batches * size), n - 1).reshape(batches, size)
        mask = (np.arange(batches * size) < n).reshape(batches, size)
        cut = (x[places], np.asarray(y, np.int32)[places], mask)
        return cls(
            *lay(cut, spread(devices)),
            *lay((mean, std), replicated(devices)),
        )


class Score(NamedTuple):
    """accuracy: f32[], share of the test set that is right; loss: f32[], cross-entropy."""

    accuracy: jax.Array
    loss: jax.Array


def evaluate(model: Any, models: Weights, data: EvaluationData, devices: int = 1) -> Score:
    """Mean accuracy and loss of one or more models on a test set.

    Args:
      model: the flax module.
      models: its variables with a leading axis of models, over which figures are averaged.
      data: the test set.
      devices: that share its batches.

    Returns:
      The score; every sample counts once, padding never.
    """

    def model_score(weights: Weights, data: EvaluationData) -> Score:
        def batch_score(batch: tuple) -> Score:
            x, y, mask = batch
            logits = model.apply(weights, normalise(x, data.mean, data.std), train=False)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            right = jnp.argmax(logits, axis=-1) == y
            return Score(jnp.sum(right & mask).astype(jnp.float32), jnp.sum(losses * mask))

        scores = jax.lax.map(batch_score, (data.x, data.y, data.mask))
        return Score(*(jnp.sum(total) for total in scores))

    def totals(models: Weights, data: EvaluationData) -> Score:
        found = jax.lax.map(lambda weights: model_score(weights, data), models)
        return jax.lax.psum(found, AXIS) if devices > 1 else found

    if devices > 1:
        everywhere, cut = PartitionSpec(), PartitionSpec(AXIS)
        specs: Any = EvaluationData(*[cut] * 3, *[everywhere] * 2)  # type: ignore[arg-type]
        totals = jax.shard_map(
            totals,
            mesh=client_mesh(devices),
            in_specs=(everywhere, specs),
            out_specs=everywhere,
            check_vma=False,
        )
    count = jnp.sum(data.mask)
    return Score(*(jnp.mean(total / count) for total in totals(models, data)))
