"""Models of one's own, made to be used as those of the registry are."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from flax import nnx
from jax import Array

from fedcode_jax.errors import ConfigError
from fedcode_jax.models.calling import named, options, takes_rngs
from fedcode_jax.models.own_nnx import Nnx, of_factory, of_instance


def adapted(model: Any) -> Any:
    """A flax model, linen or nnx, in the form in which all models are used here.

    The form is that of :func:`fedcode_jax.models.make`: ``init(key, x, train=False)`` gives the
    variables, and ``apply(variables, x, train=..., mask=..., mutable=[...],
    rngs={"dropout": key})`` the logits and, with ``mutable``, the new running statistics.
    ``fedcode_jax.models.contract`` says what a model is given and must give.

    * A linen module whose ``__call__`` takes ``train`` and ``mask`` is returned as it is.
    * Any other linen module is told by those names that it knows: ``train``, ``training``,
      ``deterministic`` (not training), ``mask``; it may know none of them.
    * An instance of an nnx module is told likewise, and set by ``train()`` and ``eval()`` in a
      copy. Its present values are the first weights, whatever the seed.
    * What takes ``rngs`` and gives an nnx module (its class, a ``functools.partial`` of that, a
      function) is called with keys made of the seed, which so decides the first weights.

    Of nnx, ``Param`` is the collection ``params`` and ``BatchStat`` is ``batch_stats``, nested
    dicts with the attributes' names, and numbers as strings; random streams start afresh from the
    key ``dropout`` in every training step.

    Args:
      model: one of these, or what this function gave before.

    Returns:
      A hashable object with ``init`` and ``apply``; those of equal models are equal.

    Raises:
      ConfigError: something else, or an nnx module that cannot be built.

    Example:
      >>> import functools, jax, jax.numpy as jnp
      >>> model = adapted(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)]))
      >>> variables = model.init(jax.random.key(0), jnp.ones((1, 2)), train=False)
      >>> model.apply(variables, jnp.ones((5, 2)), train=False).shape
      (5, 3)
      >>> model = adapted(functools.partial(nnx.Linear, 2, 3))
      >>> jax.tree.map(jnp.shape, model.init(jax.random.key(0), None))
      {'params': {'bias': (3,), 'kernel': (2, 3)}}
    """
    if isinstance(model, Linen | Nnx):
        return model
    if isinstance(model, nn.Module):
        known = set(inspect.signature(type(model).__call__).parameters)
        return model if {"train", "mask"} <= known else Linen(model)
    if isinstance(model, nnx.Module):
        return of_instance(model)
    if callable(model) and takes_rngs(model):
        return of_factory(model)
    if inspect.isclass(model) and issubclass(model, nn.Module):
        raise ConfigError(f"model: {model.__name__} is a class; give an instance of it")
    raise ConfigError(
        f"model: {named(model)} is no flax module; give a "
        "flax.linen.Module, a flax.nnx.Module, or what takes rngs and gives a flax.nnx.Module"
    )


@dataclasses.dataclass(frozen=True)
class Linen:
    """A linen module that does not take both ``train`` and ``mask``; see :func:`adapted`.

    Attributes:
      module: the module.
    """

    module: nn.Module

    def init(self, key: Array, x: Array, *, train: bool = False) -> dict[str, Any]:
        """The first variables, for samples such as x f32[B, ...features]."""
        return dict(self.module.init(key, x, **options(self.module, train, None)))

    def apply(
        self,
        variables: Mapping[str, Any],
        x: Array,
        *,
        train: bool = False,
        mask: Array | None = None,
        mutable: Any = False,
        rngs: dict[str, Array] | None = None,
    ) -> Any:
        """Logits f32[B, K] and, unless ``mutable`` is false, the new values of what it names."""
        told = options(self.module, train, mask)
        return self.module.apply(variables, x, mutable=mutable, rngs=rngs, **told)
