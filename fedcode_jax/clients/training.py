"""Local training: what every client does between two messages, and the loss of a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from fedcode_jax import randomness
from fedcode_jax.algorithms.base import At, Objective
from fedcode_jax.clients.losses import PerSample, cross_entropy, masked_sum
from fedcode_jax.models.fixing import fixed_norm

Weights = Any
ClientAxis = Literal["vmap", "map"]

BATCH_LOSS = "batch_loss"
"""What comes from a local step's loss and gradient has this in its name in a compiled program."""
_REPEATED = 42  # the seed of the authors' program
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
      repeat_draws: whether every client has, in every round, the same draws of batches and
        augmentation; dropout and what the algorithm draws stay its own.
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
    repeat_draws: bool = False
    decay: str = "none"
    loss: PerSample = cross_entropy

    def optimizer_at(self, learning_rate: jax.Array | float) -> optax.GradientTransformation:
        """The optimiser at a learning rate, which one that was made with its own ignores."""
        chosen = self.optimizer
        return chosen if isinstance(chosen, tuple) else chosen(jnp.asarray(learning_rate))

    def draws(self, key: jax.Array) -> jax.Array:
        """The key that a client's batches and augmentation come from, by its key of the round."""
        return randomness.key(_REPEATED) if self.repeat_draws else key

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
        at: At | None = None,
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
          at: where training is, for the objective's view; None without one.
          objective: how the algorithm shapes training.
          fixed: bool[], whether batch norm keeps its running averages, or None.

        Returns:
          The objective, and (the mean loss alone, new state).
        """
        seen = params
        if objective.view is not None:
            assert at is not None
            seen = objective.view(params, carried, at, jax.random.fold_in(key, _VIEW))
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
