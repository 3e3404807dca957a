"""One step of local training, of one client or of several side by side."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedcode_jax.algorithms.base import At, Objective
from fedcode_jax.clients.batches import ClientData, batch_at, normalise, num_steps, shuffles
from fedcode_jax.clients.stepping import begun, updated
from fedcode_jax.clients.training import ClientAxis, LocalTraining, Weights


class Own(NamedTuple):
    """What a client brings to its steps; those side by side have a leading axis of c.

    Attributes:
      client: i32[], its row of the data; -1 stands for none.
      size: i32[], its number of samples.
      steps: i32[], that it makes.
      order: i32[epochs, max_size], its samples in the order of each epoch.
      augment_key: of its augmentation.
      dropout_key: of what its model draws.
    """

    client: jax.Array
    size: jax.Array
    steps: jax.Array
    order: jax.Array
    augment_key: jax.Array
    dropout_key: jax.Array


class Progress(NamedTuple):
    """Where a client's training stands; those side by side have a leading axis of c.

    Attributes:
      params: the trained collection of the model.
      state: its other collections.
      opt_state: the optimiser's state.
      loss_sum: f32[], over the samples seen.
    """

    params: Weights
    state: Weights
    opt_state: Any
    loss_sum: jax.Array


class Steps(NamedTuple):
    """What all clients of a round step by, whichever layout they run in.

    The gradient is taken of the sum of the clients' losses, outside the vmap: the losses are
    independent, so it is every client's own gradient, and it lowers to faster convolutions on
    GPUs.

    Attributes:
      training: what a client does.
      axis: ``map``: one client, without a leading axis; ``vmap``: several side by side.
      data: the resident data.
      fixed: bool[], whether batch norm keeps its running averages, or None.
      learning_rate: f32[], for an optimiser that is a function of it.
      max_size: the largest number of samples of any client.
      objective: how the algorithm shapes training.
    """

    training: LocalTraining
    axis: ClientAxis
    data: ClientData
    fixed: jax.Array | None
    learning_rate: jax.Array | float
    max_size: int
    objective: Objective

    def lift(self, function: Callable, in_axes: Any = 0) -> Callable:
        """A function of one client as one of all that are side by side."""
        return jax.vmap(function, in_axes) if self.axis == "vmap" else function

    def own(self, clients: jax.Array, keys: jax.Array) -> Own:
        """What clients bring: i32[] or i32[c], rows of the data, and their keys of this round."""
        training = self.training
        sizes = jnp.where(clients >= 0, self.data.sizes[clients], 0)
        steps = num_steps(sizes, training.epochs, training.batch_size)

        def key_of(purpose: int, keys: jax.Array) -> jax.Array:
            return self.lift(lambda key: jax.random.fold_in(key, purpose))(keys)

        draws = self.lift(training.draws)(keys)
        augment_keys, dropout_keys = key_of(1, draws), key_of(2, keys)
        orders = self.lift(lambda key, n: shuffles(key, n, self.max_size, training.epochs))(
            key_of(0, draws), sizes
        )
        return Own(clients, sizes, steps, orders, augment_keys, dropout_keys)

    def begun(self, weights: Weights, keys: jax.Array) -> Progress:
        """Before the first step: the variables to start from, and a fresh optimiser's state."""
        params, state = split(weights)
        optimizer = self.training.optimizer_at(self.learning_rate)
        opt_state = self.lift(functools.partial(begun, optimizer))(params, keys)
        return Progress(params, state, opt_state, self.lift(lambda key: jnp.zeros(()))(keys))

    def after(self, now: Progress, own: Own, carried: Any, index: jax.Array) -> Progress:
        """One step further.

        Args:
          now: where training stands.
          own: what each client brings.
          carried: what the objective is given.
          index: the number of the step, i32[] of all alike, or i32[c].

        Returns:
          Where it stands then; the loss of a client that has made its steps is not counted.
        """
        training, objective, steps = self.training, self.objective, own.steps
        each = None if index.ndim == 0 else 0  # whether clients are at steps of their own
        one_loss = functools.partial(training.batch_loss, objective=objective, fixed=self.fixed)
        at = At(jnp.full_like(steps, index), steps) if any(objective) else None

        def total(params: Weights, state: Weights, batch: tuple, keys: jax.Array) -> tuple:
            losses, aux = self.lift(one_loss)(params, state, carried, *batch, keys, at)
            return jnp.sum(losses), (losses, *aux)

        batch = self.lift(functools.partial(_batch, training, self.data), (each, 0))(index, own)
        step_keys = self.lift(jax.random.fold_in, (0, each))(own.dropout_key, index)
        found, aux = jax.grad(total, has_aux=True)(now.params, now.state, batch, step_keys)
        grads, (values, loss, new_state) = found, aux
        if objective.gradient is not None:
            grads = self.lift(objective.gradient)(grads, now.params, carried, at)
        optimizer = training.optimizer_at(self.learning_rate)
        updates, new_opt_state = self.lift(_updating(optimizer, one_loss))(
            *(grads, now.opt_state, now.params, values, found),
            *(now.state, carried, *batch, step_keys, at),
        )
        seen = jnp.where(index < steps, loss * jnp.sum(batch[2], axis=-1), 0.0)
        params = optax.apply_updates(now.params, updates)
        if objective.project is not None:
            params = self.lift(objective.project)(params, carried, at)
        return Progress(params, new_state, new_opt_state, now.loss_sum + seen)


def split(weights: Weights) -> tuple[Weights, Weights]:
    """The trained collection of the variables of a model, and the others."""
    return weights["params"], {name: leaf for name, leaf in weights.items() if name != "params"}


def where_each(active: jax.Array, new: Any, old: Any) -> Any:
    """Chooses per client, over the leading axis of every leaf."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(active.reshape(active.shape + (1,) * (a.ndim - active.ndim)), a, b)

    return jax.tree.map(choose, new, old)


def _batch(
    training: LocalTraining, data: ClientData, step: jax.Array, own: Own
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One client's batch of a step: x f32[B, ...features], y i32[B], mask bool[B]."""
    positions, mask = batch_at(own.order, own.size, step, training.batch_size)
    samples = data.order[data.offsets[own.client] + positions]
    x = data.x[samples]
    if training.augment is not None:
        x = training.augment(jax.random.fold_in(own.augment_key, step), x)
    return normalise(x, data.mean, data.std), data.y[samples], mask


def _updating(optimizer: optax.GradientTransformation, loss: Callable) -> Callable[..., tuple]:
    """(grads, optimiser's state, params, loss, its gradient, *where that was) -> as ``update``."""

    def update(grads: Any, state: Any, params: Any, value: Any, grad: Any, *at: Any) -> tuple:
        def elsewhere(params: Any) -> jax.Array:
            return loss(params, *at)[0]

        return updated(optimizer, grads, state, params, value=value, grad=grad, value_fn=elsewhere)

    return update
