"""Accuracy and loss over a whole test set, exactly, in batches that fit; by class and by client."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from fedcode_jax import randomness
from fedcode_jax.clients import normalise
from fedcode_jax.clients.losses import PerSample, cross_entropy, masked_sum
from fedcode_jax.clients.training import Weights
from fedcode_jax.devices import CLIENTS, axis_of, lay, replicated, spread
from fedcode_jax.targets import Machine


class EvaluationData(NamedTuple):
    """A test set cut into equal batches, the last one padded.

    Attributes:
      x: [batches, B, ...features], raw units.
      y: i32[batches, B].
      user: i32[batches, B], whose sample each is: places in ``user_sizes``, or beyond the last
        for samples of nobody.
      mask: bool[batches, B], false where the batch is padded.
      mean: f32[channels], of the training set.
      std: f32[channels], of the training set.
      class_sizes: f32[K], test samples of each class.
      user_sizes: f32[U], test samples of each user; U = 0 if they have none.
      shares: f32[C, K], share of each class among the training samples of each client.
    """

    x: jax.Array
    y: jax.Array
    user: jax.Array
    mask: jax.Array
    mean: jax.Array
    std: jax.Array
    class_sizes: jax.Array
    user_sizes: jax.Array
    shares: jax.Array

    @classmethod
    def from_arrays(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        mean: np.ndarray,
        std: np.ndarray,
        *,
        users: np.ndarray | None = None,
        shares: np.ndarray | None = None,
        batch_size: int = 500,
        devices: int = 1,
        machine: Machine | None = None,
    ) -> "EvaluationData":
        """Cuts a test set into batches, as many on each device, pads it and lays it there.

        Args:
          x: [T, ...features], raw units.
          y: integers [T].
          mean: f32[channels].
          std: f32[channels].
          users: integers [T], negative for nobody's, or None.
          shares: f32[C, K]; default: no clients, and as many classes as occur in ``y``.
          batch_size: at most.
          devices: that share the batches.
          machine: whose they are; None for those at hand.

        Returns:
          The data, on the devices; those for a machine that is not here stay on the host.
        """
        n = len(y)
        batches = -(-n // batch_size)
        batches = -(-batches // devices) * devices
        size = -(-n // batches)
        places = np.minimum(np.arange(batches * size), n - 1).reshape(batches, size)
        mask = (np.arange(batches * size) < n).reshape(batches, size)
        if shares is None:
            shares = np.zeros((0, int(np.max(y)) + 1))
        known, user = _numbered(np.full(n, -1) if users is None else users)
        cut = (x[places], np.asarray(y, np.int32)[places], user[places], mask)
        sizes = (
            np.bincount(y, minlength=np.shape(shares)[1]).astype(np.float32),
            np.bincount(user, minlength=known)[:known].astype(np.float32),
        )
        whole = (mean, std, *sizes, np.asarray(shares, np.float32))
        arrays: Any = (*cut, *whole)
        found = cls(*arrays)
        return found if machine is not None else lay(found, cls.shardings(devices))

    @classmethod
    def shardings(cls, devices: int, machine: Machine | None = None) -> Any:
        """Where each array lies: the batches are spread over the devices, which have all else."""
        apart: Any = spread(devices, machine=machine)
        everywhere: Any = replicated(devices, machine=machine)
        return cls(*[apart] * 4, *[everywhere] * 5)


class Score(NamedTuple):
    """How good one or more models are on a test set; figures are means over the models.

    Attributes:
      accuracy: f32[], share of the test set that is right.
      loss: f32[], mean of the loss.
      classes: f32[K], accuracy on the samples of each class; nan for a class without any.
      clients: f32[U], accuracy on the test samples of each user, if they have users. Otherwise
        f32[C], accuracy on a test set with the class shares of each client: sum_k p_k a_k, with
        p_k the share of class k among the client's training samples and a_k the accuracy on
        that class; where there are as many models as clients, each client's own model.
      metrics: f32[] by name, means of further metrics.

    Source: class shares: Chen and Chao, arXiv 2107.00778, section 5.
    """

    accuracy: jax.Array
    loss: jax.Array
    classes: jax.Array
    clients: jax.Array
    metrics: dict[str, jax.Array]


class _Totals(NamedTuple):
    """Sums over test samples: right ones by class and by user, the loss, and each metric."""

    classes: jax.Array
    users: jax.Array
    loss: jax.Array
    metrics: dict[str, jax.Array]


@randomness.standardised
def evaluate(
    model: Any,
    models: Weights,
    data: EvaluationData,
    devices: int = 1,
    *,
    loss: PerSample = cross_entropy,
    metrics: tuple[tuple[str, PerSample], ...] = (),
) -> Score:
    """Scores one or more models on a test set; every sample counts once, padding never.

    Args:
      model: the flax module.
      models: its variables with a leading axis of models.
      data: the test set.
      devices: that share its batches.
      loss: (logits f32[B, K], labels i32[B]) -> f32[B].
      metrics: names, and functions of the same arguments -> f32[B] or bool[B].

    Returns:
      The score.
    """
    (score,) = evaluate_each(model, (models,), data, devices, loss=loss, metrics=metrics)
    return score


@randomness.standardised
def evaluate_each(
    model: Any,
    groups: Sequence[Weights],
    data: EvaluationData,
    devices: int = 1,
    *,
    loss: PerSample = cross_entropy,
    metrics: tuple[tuple[str, PerSample], ...] = (),
) -> list[Score]:
    """Scores several groups of models by one program, one model after another.

    Args:
      model: the flax module.
      groups: its variables, each with a leading axis of the group's models.
      data: as of ``evaluate``, and so are the others.
      devices: that share its batches.
      loss: of a sample.
      metrics: further figures.

    Returns:
      A score for each group.
    """
    models = groups[0]
    if len(groups) > 1:
        models = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *groups)
    found = _totals(model, models, data, devices, loss, metrics)
    scores, first = [], 0
    for group in groups:
        last = first + len(jax.tree.leaves(group)[0])
        own = jax.tree.map(lambda leaf, part=slice(first, last): leaf[part], found)
        scores.append(_score(own, data))
        first = last
    return scores


def _totals(
    model: Any,
    models: Weights,
    data: EvaluationData,
    devices: int,
    loss: PerSample,
    metrics: tuple[tuple[str, PerSample], ...],
) -> _Totals:
    """The sums of each model, with a leading axis of models."""

    def of_model(weights: Weights, data: EvaluationData) -> _Totals:
        def of_batch(batch: tuple) -> _Totals:
            x, y, user, mask = batch
            logits = model.apply(weights, normalise(x, data.mean, data.std), train=False)
            logits = logits.astype(jnp.float32)
            further = {
                name: masked_sum(metric(logits, y).astype(jnp.float32), mask)
                for name, metric in metrics
            }
            right = ((jnp.argmax(logits, axis=-1) == y) & mask).astype(jnp.float32)
            return _Totals(
                jax.ops.segment_sum(right, y, data.class_sizes.shape[0]),
                jax.ops.segment_sum(right, user, data.user_sizes.shape[0]),
                masked_sum(loss(logits, y), mask),
                further,
            )

        sums = jax.lax.map(of_batch, (data.x, data.y, data.user, data.mask))
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)

    def totals(models: Weights, data: EvaluationData) -> _Totals:
        found = jax.lax.map(lambda weights: of_model(weights, data), models)
        return jax.lax.psum(found, CLIENTS) if devices > 1 else found

    if devices > 1:
        everywhere, cut = PartitionSpec(), PartitionSpec(CLIENTS)
        specs: Any = EvaluationData(*[cut] * 4, *[everywhere] * 5)  # type: ignore[arg-type]
        totals = jax.shard_map(
            totals,
            mesh=axis_of(devices),
            in_specs=(everywhere, specs),
            out_specs=everywhere,
            check_vma=False,
        )
    return totals(models, data)


def _score(found: _Totals, data: EvaluationData) -> Score:
    """The score of the models that these sums are of."""
    count = jnp.sum(data.class_sizes)
    classes = found.classes / data.class_sizes
    return Score(
        accuracy=jnp.mean(jnp.sum(found.classes, axis=1) / count),
        loss=jnp.mean(found.loss / count),
        classes=jnp.mean(classes, axis=0),
        clients=_of_clients(found.users / data.user_sizes, classes, data),
        metrics={name: jnp.mean(total / count) for name, total in found.metrics.items()},
    )


def _of_clients(users: jax.Array, classes: jax.Array, data: EvaluationData) -> jax.Array:
    """Accuracy of each client from those by user f32[M, U] and by class f32[M, K] of M models."""
    if data.user_sizes.shape[0]:
        return jnp.mean(users, axis=0)
    tested = data.class_sizes > 0
    shares = data.shares * tested
    shares = shares / jnp.sum(shares, axis=1, keepdims=True)
    classes = jnp.where(tested, classes, 0)
    if classes.shape[0] == shares.shape[0]:
        return jnp.sum(shares * classes, axis=1)
    return jnp.einsum("ck,k->c", shares, jnp.mean(classes, axis=0), precision="highest")


def _numbered(users: np.ndarray) -> tuple[int, np.ndarray]:
    """How many users there are, and the place of each sample's; nobody comes after the last."""
    known, places = np.unique(users, return_inverse=True)
    nobody = int(np.searchsorted(known, 0))
    count = len(known) - nobody
    return count, np.where(places < nobody, count, places - nobody).astype(np.int32)
