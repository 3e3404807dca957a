"""Distillation at the server: a student learns what its teacher makes of inputs of noise."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedcode_jax import randomness
from fedcode_jax.algorithms.layout import Weights

TEMPERATURE = 2.0
RATE = 1e-4
BATCH = 128

Inputs = Callable[[jax.Array], jax.Array]
"""A key -> a batch of inputs, normalised."""


class Distillation(NamedTuple):
    """A teacher's logits, and how its student is seen.

    Attributes:
      logits: (params, inputs) -> f32[B, classes].
      view: params -> the params that the student is applied with.
    """

    logits: Callable[[Weights, jax.Array], jax.Array]
    view: Callable[[Weights], Weights]

    def run(self, teacher: Weights, steps: int, inputs: Inputs, round_number: jax.Array) -> Weights:
        """A student that starts as its teacher, after some steps of Adam.

            KL(softmax(z_teacher / T) || softmax(z_student / T)),   T = 2

        Args:
          teacher: params.
          steps: of the student, at a rate of 1e-4.
          inputs: what it sees, with another key in each step.
          round_number: i32[], of which the keys are made.

        Returns:
          The student's params, as they are and not as it is seen.

        Source: Hinton et al., arXiv 1503.02531; the figures of arXiv 2401.14211's program.
        """
        optimizer = optax.adam(RATE)
        root = jax.random.fold_in(randomness.key(0), round_number)

        def loss(params: Weights, x: jax.Array) -> jax.Array:
            told = jax.nn.log_softmax(self.logits(teacher, x) / TEMPERATURE)
            said = jax.nn.log_softmax(self.logits(self.view(params), x) / TEMPERATURE)
            return jnp.mean(jnp.sum(jnp.exp(told) * (told - said), axis=-1))

        def step(index: jax.Array, now: tuple[Weights, optax.OptState]) -> tuple:
            params, state = now
            grads = jax.grad(loss)(params, inputs(jax.random.fold_in(root, index)))
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, steps, step, (teacher, optimizer.init(teacher)))[0]


def noise(shape: tuple[int, ...]) -> Inputs:
    """White noise of mean 0 and variance 1, as of normalised samples of this shape."""
    return lambda key: jax.random.normal(key, (BATCH, *shape))
