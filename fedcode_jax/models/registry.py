"""The models by name, and what is done to any of them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from fedcode_jax import randomness
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.models.cnn import cnn
from fedcode_jax.models.cnn_fedavg import cnn_fedavg
from fedcode_jax.models.cnn_pfl import cnn_pfl
from fedcode_jax.models.lenet5 import lenet5
from fedcode_jax.models.mlp import mlp
from fedcode_jax.models.mobilenet_v2 import mobilenet_v2
from fedcode_jax.models.resnet import resnet8, resnet14, resnet20, resnet32, resnet56
from fedcode_jax.models.wide_resnet import wrn_16_4
from fedcode_jax.models.yamnet import yamnet

registry: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
    "cnn_fedavg": cnn_fedavg,
    "cnn_pfl": cnn_pfl,
    "lenet5": lenet5,
    "mlp": mlp,
    "mobilenet_v2": mobilenet_v2,
    "resnet8": resnet8,
    "resnet14": resnet14,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "wrn_16_4": wrn_16_4,
    "yamnet": yamnet,
}


def make(
    name: str,
    num_classes: int,
    *,
    norm: str | None = None,
    width: float | None = None,
    lowering: str = "native",
) -> nn.Module:
    """Builds a model by its name, as a config gives it.

    Args:
      name: a key of ``registry``.
      num_classes: number of logits.
      norm: ``batch``, ``group``, ``none``, or None for what the model has by default.
      width: factor of the channels, for the models that have one, or None for 1.
      lowering: of convolutions, ``native`` or ``patches``.

    Returns:
      A flax module, used as ``module.apply(variables, x, train=..., mask=..., mutable=...,
      rngs={"dropout": key})`` with x f32[B, ...] and mask bool[B] or None; it returns logits
      f32[B, num_classes]. The key is needed to train a model with dropout, and only then.

    Raises:
      ConfigError: an unknown name or lowering, or a norm or width that the model does not have.

    Example:
      >>> make("cnn", 10, norm="group").norm
      'group'
      >>> make("resnet", 10)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: model.name: unknown name 'resnet'. Did you mean ...
    """
    check_name("model.name", name, registry)
    options: dict[str, Any] = {} if norm is None else {"norm": norm}
    if width is not None:
        scalable = [model for model, factory in registry.items() if _has_width(factory)]
        if name not in scalable:
            raise ConfigError(
                f"model.width: {name} has none. Models with one: {', '.join(scalable)}"
            )
        options["width"] = width
    return registry[name](num_classes, lowering=lowering, **options)


def _has_width(factory: Callable[..., nn.Module]) -> bool:
    return "width" in inspect.signature(factory).parameters


@randomness.standardised
def init(module: nn.Module, key: Array, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """Draws a model's first variables.

    Args:
      module: a model of this package.
      key: a random key; the function may be vmapped over keys.
      input_shape: of one sample, without the batch: (H, W, C) or (D,).

    Returns:
      ``params`` and, with batch norm, ``batch_stats``: nested dicts of float32 arrays.

    Raises:
      DataError: the model does not take samples of this shape.

    Example:
      >>> variables = init(make("mlp", 3), jax.random.key(0), (5,))
      >>> jax.tree.map(jnp.shape, variables["params"]["head"])
      {'bias': (3,), 'kernel': (64, 3)}
    """
    # jitted, the forward pass that only serves to find the shapes is dropped
    return _init(module, tuple(input_shape), key)


def _init_one(module: nn.Module, input_shape: tuple[int, ...], key: Array) -> dict[str, Any]:
    return dict(module.init(key, jnp.zeros((1, *input_shape)), train=False))


_init = jax.jit(_init_one, static_argnums=(0, 1))


def count_parameters(variables: Mapping[str, Any]) -> int:
    """Counts the trained values; running statistics are state, not parameters.

    Args:
      variables: as from ``init``.

    Returns:
      The number of values under ``params``.
    """
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
