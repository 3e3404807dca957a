"""Accuracy and loss over a whole test set, exactly, in batches that fit; by class and by client."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from fedcode_jax import randomness
from fedcode_jax.clients import normalise
from fedcode_jax.clients.losses import PerSample, cross_entropy, masked_sum
from fedcode_jax.clients.training import Weights
from fedcode_jax.devices import CLIENTS, axis_of
from fedcode_jax.simulation.evaluation_data import EvaluationData


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
      client_losses: of the shape of ``clients``, mean of the loss on the same samples; None where
        it was not asked for.

    Source: class shares: Chen and Chao, arXiv 2107.00778, section 5.
    """

    accuracy: jax.Array
    loss: jax.Array
    classes: jax.Array
    clients: jax.Array
    metrics: dict[str, jax.Array]
    client_losses: jax.Array | None = None


class _Totals(NamedTuple):
    """Sums over test samples: right ones by class and by user, the loss, and each metric.

    ``losses``: the loss by class and by user, if it is asked for.
    """

    classes: jax.Array
    users: jax.Array
    loss: jax.Array
    metrics: dict[str, jax.Array]
    losses: tuple[jax.Array, jax.Array] | None = None


@randomness.standardised
def evaluate(
    model: Any,
    models: Weights,
    data: EvaluationData,
    devices: int = 1,
    *,
    loss: PerSample = cross_entropy,
    metrics: tuple[tuple[str, PerSample], ...] = (),
    client_losses: bool = False,
) -> Score:
    """Scores one or more models on a test set; every sample counts once, padding never.

    Args:
      model: the flax module.
      models: its variables with a leading axis of models.
      data: the test set.
      devices: that share its batches.
      loss: (logits f32[B, K], labels i32[B]) -> f32[B].
      metrics: names, and functions of the same arguments -> f32[B] or bool[B].
      client_losses: whether the score has them.

    Returns:
      The score.
    """
    further: Any = {"loss": loss, "metrics": metrics, "client_losses": client_losses}
    (score,) = evaluate_each(model, (models,), data, devices, **further)
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
    client_losses: bool = False,
) -> list[Score]:
    """Scores several groups of models by one program, one model after another.

    Args:
      model: the flax module.
      groups: its variables, each with a leading axis of the group's models.
      data: as of ``evaluate``, and so are the others.
      devices: that share its batches.
      loss: of a sample.
      metrics: further figures.
      client_losses: whether scores have them.

    Returns:
      A score for each group.
    """
    models = groups[0]
    if len(groups) > 1:
        models = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *groups)
    found = _totals(model, models, data, devices, loss, metrics, client_losses)
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
    client_losses: bool,
) -> _Totals:
    """The sums of each model, with a leading axis of models."""
    by_class = functools.partial(jax.ops.segment_sum, num_segments=data.class_sizes.shape[0])
    by_user = functools.partial(jax.ops.segment_sum, num_segments=data.user_sizes.shape[0])

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
            losses, by_both = loss(logits, y), None
            if client_losses:
                counted = jnp.where(mask, losses, 0)
                by_both = by_class(counted, y), by_user(counted, user)
            return _Totals(
                by_class(right, y),
                by_user(right, user),
                masked_sum(losses, mask),
                further,
                by_both,
            )

        sums = jax.lax.map(of_batch, (data.x, data.y, data.user, data.mask))
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)

    def totals(models: Weights, data: EvaluationData) -> _Totals:
        return jax.lax.map(lambda weights: of_model(weights, data), models)

    return over_devices(totals, devices)(models, data)


def over_devices(
    sums: Callable[[Any, EvaluationData], Any], devices: int
) -> Callable[[Any, EvaluationData], Any]:
    """Sums over the test samples of one device, as those over all of them.

    Args:
      sums: (anything, data) -> a pytree of sums.
      devices: that share the test samples; all have the rest.

    Returns:
      The same function of a test set that lies on several devices.
    """
    if devices == 1:
        return sums
    everywhere, cut = PartitionSpec(), PartitionSpec(CLIENTS)
    specs: Any = EvaluationData(*[cut] * 4, *[everywhere] * 6)  # type: ignore[arg-type]
    return jax.shard_map(
        lambda given, data: jax.lax.psum(sums(given, data), CLIENTS),
        mesh=axis_of(devices),
        in_specs=(everywhere, specs),
        out_specs=everywhere,
        check_vma=False,
    )


def _score(found: _Totals, data: EvaluationData) -> Score:
    """The score of the models that these sums are of."""
    count = jnp.sum(data.class_sizes)
    classes = found.classes / data.class_sizes
    losses = None
    if found.losses is not None:
        of_classes, of_users = found.losses
        losses = _of_clients(of_users / data.user_sizes, of_classes / data.class_sizes, data)
    return Score(
        accuracy=jnp.mean(jnp.sum(found.classes, axis=1) / count),
        loss=jnp.mean(found.loss / count),
        classes=jnp.mean(classes, axis=0),
        clients=_of_clients(found.users / data.user_sizes, classes, data),
        metrics={name: jnp.mean(total / count) for name, total in found.metrics.items()},
        client_losses=losses,
    )


def _of_clients(users: jax.Array, classes: jax.Array, data: EvaluationData) -> jax.Array:
    """A mean of each client from those by user f32[M, U] and by class f32[M, K] of M models."""
    if data.user_sizes.shape[0]:
        return jnp.mean(users, axis=0)
    tested = data.class_sizes > 0
    shares = data.shares * tested
    shares = shares / jnp.sum(shares, axis=1, keepdims=True)
    classes = jnp.where(tested, classes, 0)
    if classes.shape[0] == shares.shape[0]:
        return jnp.sum(shares * classes, axis=1)
    return jnp.einsum("ck,k->c", shares, jnp.mean(classes, axis=0), precision="highest")
