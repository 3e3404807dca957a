"""A multilayer perceptron, for flat features or small images."""

import math

import flax.linen as nn
from jax import Array

from fedcode_jax.errors import ConfigError, DataError
from fedcode_jax.models.layers import check_floats, check_model
from fedcode_jax.models.norm import check_norm


class MLP(nn.Module):
    """Dense layers with relu between them; see :func:`mlp`."""

    num_classes: int
    hidden: tuple[int, ...] = (64,)

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, ...] to logits f32[B, num_classes]; no sample depends on another."""
        del train, mask
        if x.ndim < 2 or math.prod(x.shape[1:]) == 0:
            raise DataError(f"mlp: needs samples [B, ...] with features, got shape {x.shape}")
        check_floats("mlp", x)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            init = nn.initializers.he_normal()
            x = nn.relu(nn.Dense(width, kernel_init=init, name=f"dense{i + 1}")(x))
        return nn.Dense(self.num_classes, name="head")(x)


def mlp(
    num_classes: int,
    *,
    norm: str = "none",
    lowering: str = "native",
    hidden: tuple[int, ...] = (64,),
) -> MLP:
    """Builds a multilayer perceptron: flatten, then dense and relu for each width, then dense.

    Args:
      num_classes: number of logits.
      norm: only ``none``.
      lowering: there is no convolution to lower, so every plan runs the same program.
      hidden: widths of the hidden layers; none at all is logistic regression.

    Returns:
      A flax module for input f32[B, ...] of any shape.

    Raises:
      ConfigError: a norm other than ``none``, an unknown lowering, or a width below 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from fedcode_jax import models
      >>> import jax
      >>> model = mlp(10, hidden=(32, 16))
      >>> variables = models.init(model, jax.random.key(0), (64,))
      >>> models.count_parameters(variables)
      2778
      >>> model.apply(variables, jnp.ones((5, 64)), train=False).shape
      (5, 10)
    """
    check_model(num_classes, lowering)
    check_norm("mlp", norm, ("none",))
    if any(width < 1 for width in hidden):
        raise ConfigError(f"mlp: hidden widths must be at least 1, got {hidden}")
    return MLP(num_classes, tuple(hidden))
