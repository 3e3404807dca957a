"""Local training as a plain Python loop: what every execution plan is held against."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedcode_jax import randomness
from fedcode_jax.algorithms.base import At, Objective
from fedcode_jax.clients.batches import ClientData, normalise, shuffles
from fedcode_jax.clients.stepping import begun, updated
from fedcode_jax.clients.training import LocalTraining, Weights


@randomness.standardised
def train_reference(
    training: LocalTraining,
    start: Weights,
    data: ClientData,
    client: int,
    key: jax.Array,
    learning_rate: float = 1.0,
    *,
    objective: Objective = Objective(),
    carried: Any = None,
) -> tuple[Weights, float]:
    """Trains one client, batch after batch, with batches of their true sizes.

    No padding, no masks, no loop inside a program: slow, and easy to believe. Only the
    gradient of one batch is jitted.

    Args:
      training: what a client does.
      start: the variables to start from.
      data: the resident data.
      client: its row.
      key: its key of this round.
      learning_rate: for an optimiser that is a function of it.
      objective: how the algorithm shapes training.
      carried: what the objective is given.

    Returns:
      The trained variables, and the mean loss over all samples of all epochs.
    """
    offset, size = int(data.offsets[client]), int(data.sizes[client])
    own = np.asarray(data.order)[offset : offset + size]
    draws = training.draws(key)
    shuffled = np.asarray(shuffles(jax.random.fold_in(draws, 0), size, size, training.epochs))
    augment_key, dropout_key = jax.random.fold_in(draws, 1), jax.random.fold_in(key, 2)

    params = start["params"]
    state = {name: value for name, value in start.items() if name != "params"}
    optimizer = training.optimizer_at(learning_rate)
    opt_state = begun(optimizer, params, key)
    step, steps, loss_sum = 0, training.epochs * -(-size // training.batch_size), 0.0
    for epoch in range(training.epochs):
        for first in range(0, size, training.batch_size):
            samples = own[shuffled[epoch, first : first + training.batch_size]]
            x = data.x[samples]
            if training.augment is not None:
                # Offsets are drawn for a whole batch; a partial one uses the first of them.
                whole = jnp.zeros((training.batch_size, *x.shape[1:]), x.dtype).at[: len(x)].set(x)
                x = training.augment(jax.random.fold_in(augment_key, step), whole)[: len(x)]
            mask = jnp.ones(len(samples), bool)
            at = At(jnp.int32(step), jnp.int32(steps))
            inputs = (
                state,
                carried,
                normalise(x, data.mean, data.std),
                data.y[samples],
                mask,
                jax.random.fold_in(dropout_key, step),
                at,
            )
            (value, (loss, state)), grad = _gradient(training, objective)(params, *inputs)
            grads = grad
            if objective.gradient is not None:
                grads = objective.gradient(grad, params, carried, at)
            elsewhere = functools.partial(_value, _loss(training, objective), inputs)
            updates, opt_state = updated(
                *(optimizer, grads, opt_state, params),
                value=value,
                grad=grad,
                value_fn=elsewhere,
            )
            params = optax.apply_updates(params, updates)
            if objective.project is not None:
                params = objective.project(params, carried, at)
            loss_sum += float(loss) * len(samples)
            step += 1
    return {"params": params, **state}, loss_sum / max(training.epochs * size, 1)


@functools.lru_cache(maxsize=8)
def _gradient(training: LocalTraining, objective: Objective) -> Any:
    return jax.jit(jax.value_and_grad(_loss(training, objective), has_aux=True))


def _loss(training: LocalTraining, objective: Objective) -> Any:
    return functools.partial(training.batch_loss, objective=objective)


def _value(loss: Any, inputs: tuple, params: Weights) -> jax.Array:
    return loss(params, *inputs)[0]
