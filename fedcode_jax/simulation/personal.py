"""Accuracy and loss of each client's own model, on its own distribution and on the test set."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.clients import normalise
from fedcode_jax.clients.losses import PerSample, cross_entropy, masked_sum
from fedcode_jax.clients.training import Weights
from fedcode_jax.simulation.evaluation import over_devices
from fedcode_jax.simulation.evaluation_data import EvaluationData


class PersonalScore(NamedTuple):
    """How good the clients' own models are.

    A client's own distribution is that of its user's test samples, if it has one user who has some.
    Otherwise it is a test set with the class shares of its training samples, among classes that
    are tested: a sample of class k counts p_k / n_k, of n_k test samples; nan if none is tested.

    Attributes:
      accuracy: f32[C], of each on its client's own distribution.
      loss: f32[C], mean of the loss likewise.
      shared_accuracy: f32[C], on the whole test set.
      shared_loss: f32[C].

    Source: class shares: Chen and Chao, arXiv 2107.00778, section 5.
    """

    accuracy: jax.Array
    loss: jax.Array
    shared_accuracy: jax.Array
    shared_loss: jax.Array


@randomness.standardised
def evaluate_personal(
    model: Any,
    personal: Callable[[Any, Any], Weights],
    server: Any,
    store: Any,
    data: EvaluationData,
    devices: int = 1,
    *,
    loss: PerSample = cross_entropy,
) -> PersonalScore:
    """Scores the model of every client, made when its turn comes: in memory there is one of them.

    Args:
      model: the flax module.
      personal: (server, what a client keeps) -> its variables, as of ``Algorithm.personal``.
      server: the server's state.
      store: what the clients keep, with a leading axis of C.
      data: the test set, with the shares and owners of the clients.
      devices: that share its batches.
      loss: (logits f32[B, K], labels i32[B]) -> f32[B].

    Returns:
      The score; its work is that of evaluating C models.
    """

    def of_client(server: Any, stored: Any, client: jax.Array, data: EvaluationData) -> Any:
        weights = personal(server, stored)
        tested = data.shares[client] * (data.class_sizes > 0)
        by_class = tested / jnp.sum(tested) / jnp.maximum(data.class_sizes, 1)
        owner = data.owners[client]
        count = jnp.sum(data.class_sizes)

        def of_batch(batch: tuple) -> PersonalScore:
            x, y, user, mask = batch
            logits = model.apply(weights, normalise(x, data.mean, data.std), train=False)
            logits = logits.astype(jnp.float32)
            right = (jnp.argmax(logits, axis=-1) == y).astype(jnp.float32)
            losses = loss(logits, y)
            own = by_class[y]
            if users:
                of_user = (user == owner) / data.user_sizes[jnp.minimum(owner, users - 1)]
                own = jnp.where(owner < users, of_user, own)
            counts = mask & (own != 0)
            return PersonalScore(
                masked_sum(own * right, counts),
                masked_sum(own * losses, counts),
                masked_sum(right, mask) / count,
                masked_sum(losses, mask) / count,
            )

        sums = jax.lax.map(of_batch, (data.x, data.y, data.user, data.mask))
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)

    users, clients = data.user_sizes.shape[0], data.shares.shape[0]

    def of_all(given: Any, data: EvaluationData) -> PersonalScore:
        server, store = given
        every = store, jnp.arange(clients)
        return jax.lax.map(lambda each: of_client(server, each[0], each[1], data), every)

    return over_devices(of_all, devices)((server, store), data)
