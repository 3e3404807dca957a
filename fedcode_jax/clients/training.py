"""Local training: from weights and data to weights, for one client or a chunk of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from fedcode_jax.clients.batches import ClientData, batch_at, normalise, num_steps, shuffles
from fedcode_jax.models.norm import fixed_norm

Weights = Any
ClientAxis = Literal["vmap", "map"]


@dataclasses.dataclass(frozen=True)
class LocalTraining:
    """What every client does between two messages, whatever the algorithm.

    Attributes:
      model: a flax module, applied as ``model.apply(variables, x, train=True, mask=mask,
        mutable=[...], rngs={"dropout": key})``.
      optimizer: an optax optimiser, or a function from a learning rate f32[], which may be
        traced, to one; its state starts afresh in every round.
      epochs: E, passes over the client's own samples.
      batch_size: B; the last batch of an epoch may be smaller.
      augment: (key, x[B, ...]) -> x, in raw units, or None.
      penalty: (params, starting params) -> scalar added to the loss of every step, for
        algorithms that change the objective (a proximal term, say), or None.
      dtype: in which the model computes, float32 or bfloat16; the weights that are updated,
        running statistics and the loss are float32 in any case.
      fix_norm_after: the last round in which batch norm takes its statistics from the batches,
        or None: it always does. See :func:`fedcode_jax.models.fixed_norm`.
      decay: how the learning rate falls over the rounds, as of ``optimizers.decayed``.
    """

    model: Any
    optimizer: optax.GradientTransformation | Callable[[jax.Array], optax.GradientTransformation]
    epochs: int = 4
    batch_size: int = 32
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    penalty: Callable[[Weights, Weights], jax.Array] | None = None
    dtype: Any = jnp.float32
    fix_norm_after: int | None = None
    decay: str = "none"

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

    def loss(
        self,
        params: Weights,
        state: Weights,
        start: Weights,
        x: jax.Array,
        y: jax.Array,
        mask: jax.Array,
        key: jax.Array,
        fixed: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, Weights]]:
        """Mean cross-entropy of one client's batch over its unmasked samples.

        Args:
          params: the trained collection of the model.
          state: its other collections (running statistics), possibly empty.
          start: the params that training started from.
          x: f32[B, ...features], normalised.
          y: i32[B].
          mask: bool[B].
          key: for dropout.
          fixed: bool[], whether batch norm keeps its running averages, or None.

        Returns:
          The objective, and (cross-entropy alone, new state).
        """
        with fixed_norm(fixed):
            logits, new_state = self.model.apply(
                {"params": self._cast(params), **state},
                x.astype(self.dtype),
                train=True,
                mask=mask,
                mutable=list(state),
                rngs={"dropout": key},
            )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), y)
        entropy = jnp.sum(losses * mask) / jnp.maximum(jnp.sum(mask), 1)
        penalty = self.penalty(params, start) if self.penalty is not None else 0.0
        return entropy + penalty, (entropy, new_state)

    def _cast(self, params: Weights) -> Weights:
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)


def train(
    training: LocalTraining,
    axis: ClientAxis,
    starts: Weights,
    data: ClientData,
    clients: jax.Array,
    keys: jax.Array,
    fixed: jax.Array | None = None,
    learning_rate: jax.Array | float = 1.0,
    *,
    max_size: int,
) -> tuple[Weights, jax.Array]:
    """Trains one client (``map``) or a chunk of clients side by side (``vmap``).

    The loop runs to the largest step count among the clients given, a traced number; the
    state of a client that has finished is masked. The gradient is taken of the sum of the
    clients' losses, outside the vmap: the losses are independent, so it is every client's
    own gradient, and it lowers to faster convolutions on GPUs.

    Args:
      training: what a client does.
      axis: ``map``: the arguments below have no leading axis; ``vmap``: they have one of c.
      starts: the variables to start from (collections, ``params`` among them).
      data: the resident data.
      clients: i32[] or i32[c], rows of ``data``; -1 stands for none: no step is made.
      keys: the clients' keys of this round.
      fixed: bool[], whether batch norm keeps its running averages, or None; without an axis.
      learning_rate: f32[], for an optimiser that is a function of it; without an axis.
      max_size: the largest number of samples of any client, static.

    Returns:
      The trained variables, and the mean cross-entropy over all samples of all epochs,
      f32[] or f32[c].
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

    def batch(
        order: jax.Array, client: jax.Array, size: jax.Array, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        positions, mask = batch_at(order, size, step, training.batch_size)
        samples = data.order[data.offsets[client] + positions]
        x = data.x[samples]
        if training.augment is not None:
            x = training.augment(jax.random.fold_in(key, step), x)
        return normalise(x, data.mean, data.std), data.y[samples], mask

    start_params = starts["params"]
    state = {name: value for name, value in starts.items() if name != "params"}

    def total(
        params: Weights,
        state: Weights,
        x: jax.Array,
        y: jax.Array,
        mask: jax.Array,
        keys: jax.Array,
    ) -> tuple[jax.Array, tuple]:
        loss = functools.partial(training.loss, fixed=fixed)
        losses, aux = lift(loss)(params, state, start_params, x, y, mask, keys)
        return jnp.sum(losses), aux

    def step(index: jax.Array, carry: tuple) -> tuple:
        params, state, opt_state, loss_sum = carry
        x, y, mask = lift(lambda o, c, n, k: batch(o, c, n, k, index))(
            orders, clients, sizes, augment_keys
        )
        step_keys = lift(lambda key: jax.random.fold_in(key, index))(dropout_keys)
        grads, (loss, new_state) = jax.grad(total, has_aux=True)(
            params, state, x, y, mask, step_keys
        )
        updates, new_opt_state = lift(optimizer.update)(grads, opt_state, params)
        loss_sum = loss_sum + jnp.where(index < steps, loss * jnp.sum(mask, axis=-1), 0.0)
        new = (optax.apply_updates(params, updates), new_state, new_opt_state)
        if axis == "vmap":
            new = _where(index < steps, new, (params, state, opt_state))
        return *new, loss_sum

    carry = (
        start_params,
        state,
        lift(optimizer.init)(start_params),
        jnp.zeros(steps.shape),
    )
    params, state, _, loss_sum = jax.lax.fori_loop(0, jnp.max(steps), step, carry)
    return {"params": params, **state}, loss_sum / jnp.maximum(training.epochs * sizes, 1)


def _where(active: jax.Array, new: Any, old: Any) -> Any:
    """Chooses per client, over the leading axis of every leaf."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(active.reshape(active.shape + (1,) * (a.ndim - active.ndim)), a, b)

    return jax.tree.map(choose, new, old)
