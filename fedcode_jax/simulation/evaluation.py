"""Accuracy and loss over a whole test set, exactly, in batches that fit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedcode_jax.clients import normalise
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
        cls, x: np.ndarray, y: np.ndarray, mean: np.ndarray, std: np.ndarray, batch_size: int = 500
    ) -> "EvaluationData":
        """Cuts and pads a test set and lays it on the device."""
        n = len(y)
        batches = -(-n // batch_size)
        size = -(-n // batches)
        places = np.minimum(np.arange(batches * size), n - 1).reshape(batches, size)
        mask = (np.arange(batches * size) < n).reshape(batches, size)
        arrays = (x[places], np.asarray(y, np.int32)[places], mask, mean, std)
        return cls(*(jnp.asarray(array) for array in arrays))


class Score(NamedTuple):
    """accuracy: f32[], share of the test set that is right; loss: f32[], cross-entropy."""

    accuracy: jax.Array
    loss: jax.Array


def evaluate(model: Any, models: Weights, data: EvaluationData) -> Score:
    """Mean accuracy and loss of one or more models on a test set.

    Args:
      model: the flax module.
      models: its variables with a leading axis of models, over which figures are averaged.
      data: the test set.

    Returns:
      The score; every sample counts once, padding never.
    """

    def batch_score(weights: Weights, x: jax.Array, y: jax.Array, mask: jax.Array) -> Score:
        logits = model.apply(weights, normalise(x, data.mean, data.std), train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        right = jnp.argmax(logits, axis=-1) == y
        return Score(jnp.sum(right & mask).astype(jnp.float32), jnp.sum(losses * mask))

    def model_score(weights: Weights) -> Score:
        batches = (data.x, data.y, data.mask)
        scores = jax.lax.map(lambda batch: batch_score(weights, *batch), batches)
        count = jnp.sum(data.mask)
        return Score(*(jnp.sum(total) / count for total in scores))

    return Score(*(jnp.mean(score) for score in jax.lax.map(model_score, models)))
