"""Local training: from weights and data to weights, for one client or a chunk of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedcode_jax import randomness
from fedcode_jax.algorithms.base import At, Objective, Start
from fedcode_jax.clients.batches import ClientData, batch_at, normalise, num_steps, shuffles
from fedcode_jax.clients.losses import PerSample, cross_entropy, masked_sum
from fedcode_jax.clients.stepping import begun, updated
from fedcode_jax.models.fixing import fixed_norm

Weights = Any
ClientAxis = Literal["vmap", "map"]

BATCH_LOSS = "batch_loss"
"""What comes from a local step's loss and gradient has this in its name in a compiled program."""
_VIEW = 0x71E3  # of a step's key, apart from what a model makes of it for dropout


@dataclasses.dataclass(frozen=True)
class LocalTraining:
    """What every client does between two messages, whatever the algorithm.

    Attributes:
      model: one of ``fedcode_jax.models``, or of one's own after ``models.adapted``, applied as
        ``model.apply(variables, x, train=True, mask=mask, mutable=[...], rngs={"dropout": key})``.
      optimizer: an optax optimiser, or a function from a learning rate f32[], which may be
        traced, to one; its state starts afresh in every round.
      epochs: E, passes over the client's own samples.
      batch_size: B; the last batch of an epoch may be smaller.
      augment: (key, x[B, ...]) -> x, in raw units, or None.
      dtype: in which the model computes, float32 or bfloat16; the weights that are updated,
        running statistics and the loss are float32 in any case.
      fix_norm_after: the last round in which batch norm takes its statistics from the batches,
        or None: it always does. See :func:`fedcode_jax.models.fixed_norm`.
      decay: how the learning rate falls over the rounds, as of ``optimizers.decayed``.
      loss: (logits f32[B, K], labels i32[B]) -> f32[B], of which clients minimise the mean and
        which the test set is scored with.
    """

    model: Any
    optimizer: optax.GradientTransformation | Callable[[jax.Array], optax.GradientTransformation]
    epochs: int = 4
    batch_size: int = 32
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    dtype: Any = jnp.float32
    fix_norm_after: int | None = None
    decay: str = "none"
    loss: PerSample = cross_entropy

    def optimizer_at(self, learning_rate: jax.Array | float) -> optax.GradientTransformation:
        """The optimiser at a learning rate, which one that was made with its own ignores."""
        chosen = self.optimizer
        return chosen if isinstance(chosen, tuple) else chosen(jnp.asarray(learning_rate))

    def norm_is_fixed(self, number: jax.Array) -> jax.Array | None:
        """Whether clients train with fixed running averages in this round, counted from 1.

        Returns:
          bool[], or None if they never do.
        """
        return None if self.fix_norm_after is None else number > self.fix_norm_after

    @jax.named_scope(BATCH_LOSS)
    def batch_loss(
        self,
        params: Weights,
        state: Weights,
        carried: Any,
        x: jax.Array,
        y: jax.Array,
        mask: jax.Array,
        key: jax.Array,
        *,
        objective: Objective = Objective(),
        fixed: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, Weights]]:
        """Mean loss of one client's batch over its unmasked samples, and a penalty.

        Args:
          params: the trained collection of the model.
          state: its other collections (running statistics), possibly empty.
          carried: what the objective is given, as of ``Start``.
          x: f32[B, ...features], normalised.
          y: i32[B].
          mask: bool[B].
          key: for dropout, and for the objective's view.
          objective: how the algorithm shapes training.
          fixed: bool[], whether batch norm keeps its running averages, or None.

        Returns:
          The objective, and (the mean loss alone, new state).
        """
        seen = params
        if objective.view is not None:
            seen = objective.view(params, carried, jax.random.fold_in(key, _VIEW))
        with fixed_norm(fixed):
            logits, new_state = self.model.apply(
                {"params": self._cast(seen), **state},
                x.astype(self.dtype),
                train=True,
                mask=mask,
                mutable=list(state),
                rngs={"dropout": key},
            )
        losses = self.loss(logits.astype(jnp.float32), y)
        mean = masked_sum(losses, mask) / jnp.maximum(jnp.sum(mask), 1)
        penalty = 0.0 if objective.penalty is None else objective.penalty(params, carried)
        return mean + penalty, (mean, new_state)

    def _cast(self, params: Weights) -> Weights:
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)


class Trained(NamedTuple):
    """What local training gives, of one client or with a leading axis of c.

    Attributes:
      weights: the trained variables.
      steps: i32[], local steps made.
      loss: f32[], mean loss over all samples of all epochs.
    """

    weights: Weights
    steps: jax.Array
    loss: jax.Array


@randomness.standardised
def train(
    training: LocalTraining,
    axis: ClientAxis,
    starts: Start,
    data: ClientData,
    clients: jax.Array,
    keys: jax.Array,
    fixed: jax.Array | None = None,
    learning_rate: jax.Array | float = 1.0,
    *,
    max_size: int,
    objective: Objective = Objective(),
) -> Trained:
    """Trains one client (``map``) or a chunk of clients side by side (``vmap``).

    The loop runs to the largest step count among the clients given, a traced number; the
    state of a client that has finished is masked. The gradient is taken of the sum of the
    clients' losses, outside the vmap: the losses are independent, so it is every client's
    own gradient, and it lowers to faster convolutions on GPUs.

    Args:
      training: what a client does.
      axis: ``map``: the arguments below have no leading axis; ``vmap``: they have one of c.
      starts: the variables to start from (collections, ``params`` among them), and what the
        objective is given.
      data: the resident data.
      clients: i32[] or i32[c], rows of ``data``; -1 stands for none: no step is made.
      keys: the clients' keys of this round.
      fixed: bool[], whether batch norm keeps its running averages, or None; without an axis.
      learning_rate: f32[], for an optimiser that is a function of it; without an axis.
      max_size: the largest number of samples of any client, static.
      objective: how the algorithm shapes training, static.

    Returns:
      The trained variables and what is known of the training.
    """
    lift = jax.vmap if axis == "vmap" else lambda function: function
    optimizer = training.optimizer_at(learning_rate)
    sizes = jnp.where(clients >= 0, data.sizes[clients], 0)
    steps = num_steps(sizes, training.epochs, training.batch_size)

    def key_of(purpose: int) -> jax.Array:
        return lift(lambda key: jax.random.fold_in(key, purpose))(keys)

    augment_keys, dropout_keys = key_of(1), key_of(2)
    orders = lift(lambda key, size: shuffles(key, size, max_size, training.epochs))(
        key_of(0), sizes
    )
    carried, start_params = starts.carried, starts.weights["params"]
    state = {name: value for name, value in starts.weights.items() if name != "params"}

    one_loss = functools.partial(training.batch_loss, objective=objective, fixed=fixed)

    def total(params: Weights, state: Weights, batch: tuple, keys: jax.Array) -> tuple:
        losses, aux = lift(one_loss)(params, state, carried, *batch, keys)
        return jnp.sum(losses), (losses, *aux)

    def step(index: jax.Array, carry: tuple) -> tuple:
        params, state, opt_state, loss_sum = carry
        batch = lift(lambda *own: _batch(training, data, index, own))(
            orders, clients, sizes, augment_keys
        )
        step_keys = lift(lambda key: jax.random.fold_in(key, index))(dropout_keys)
        found, aux = jax.grad(total, has_aux=True)(params, state, batch, step_keys)
        grads, (values, loss, new_state) = found, aux
        if objective.gradient is not None:
            at = At(jnp.full_like(steps, index), steps)
            grads = lift(objective.gradient)(grads, params, carried, at)
        updates, new_opt_state = lift(_updating(optimizer, one_loss))(
            grads, opt_state, params, values, found, state, carried, *batch, step_keys
        )
        loss_sum = loss_sum + jnp.where(index < steps, loss * jnp.sum(batch[2], axis=-1), 0.0)
        new = (optax.apply_updates(params, updates), new_state, new_opt_state)
        if axis == "vmap":
            new = _where(index < steps, new, (params, state, opt_state))
        return *new, loss_sum

    opt_state = lift(functools.partial(begun, optimizer))(start_params, keys)
    carry = (start_params, state, opt_state, jnp.zeros(steps.shape))
    params, state, _, loss_sum = jax.lax.fori_loop(0, jnp.max(steps), step, carry)
    loss = loss_sum / jnp.maximum(training.epochs * sizes, 1)
    return Trained({"params": params, **state}, steps, loss)


def _batch(
    training: LocalTraining, data: ClientData, step: jax.Array, own: tuple
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One client's batch of a step: x f32[B, ...features], y i32[B], mask bool[B]."""
    order, client, size, key = own
    positions, mask = batch_at(order, size, step, training.batch_size)
    samples = data.order[data.offsets[client] + positions]
    x = data.x[samples]
    if training.augment is not None:
        x = training.augment(jax.random.fold_in(key, step), x)
    return normalise(x, data.mean, data.std), data.y[samples], mask


def _updating(optimizer: optax.GradientTransformation, loss: Callable) -> Callable[..., tuple]:
    """(grads, optimiser's state, params, loss, its gradient, *where that was) -> as ``update``."""

    def update(grads: Any, state: Any, params: Any, value: Any, grad: Any, *at: Any) -> tuple:
        def elsewhere(params: Any) -> jax.Array:
            return loss(params, *at)[0]

        return updated(optimizer, grads, state, params, value=value, grad=grad, value_fn=elsewhere)

    return update


def _where(active: jax.Array, new: Any, old: Any) -> Any:
    """Chooses per client, over the leading axis of every leaf."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(active.reshape(active.shape + (1,) * (a.ndim - active.ndim)), a, b)

    return jax.tree.map(choose, new, old)
