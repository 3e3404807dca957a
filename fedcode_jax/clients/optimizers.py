"""Any optimiser of optax, by its name."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedcode_jax.errors import ConfigError, check_name


@functools.cache
def optimizer_names() -> tuple[str, ...]:
    """The optimisers of optax that a client can use: what is called with a learning rate alone.

    Example:
      >>> {"adam", "sgd", "lion", "nadamw"} <= set(optimizer_names())
      True
    """

    def usable(name: str) -> bool:
        function = getattr(optax, name)
        # lbfgs searches along a line and needs the objective itself at every update.
        if name.startswith(("_", "scale_by")) or name == "lbfgs" or inspect.isclass(function):
            return False
        try:  # of whatever can be called: nadamw is no function but a functools.partial of one
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return False
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        required = {p.name for p in parameters if p.default is p.empty and p.kind in named}
        return "learning_rate" in {p.name for p in parameters} and required <= {"learning_rate"}

    return tuple(name for name in sorted(dir(optax)) if usable(name))


DECAYS = ("none", "cosine", "step")
"""How the learning rate falls over the rounds of a run; see ``decayed``."""


def decayed(
    decay: str, learning_rate: jax.Array, number: jax.Array, rounds: jax.Array
) -> jax.Array:
    """The learning rate of a round.

    With t rounds done of R: ``none``, it stays; ``cosine``, times (1 + cos(pi t / R)) / 2;
    ``step``, a tenth from half of the rounds on, and a hundredth from three quarters on.

    Args:
      decay: one of ``DECAYS``.
      learning_rate: f32[], of the first round.
      number: i32[], the round, counted from 1.
      rounds: i32[], R.

    Returns:
      f32[].

    Raises:
      ConfigError: no such decay.

    Example:
      >>> [round(float(decayed("cosine", 1.0, t, 4)), 3) for t in (1, 2, 3, 4)]
      [1.0, 0.854, 0.5, 0.146]
    """
    check_name("local.decay", decay, DECAYS)
    done = (jnp.asarray(number) - 1) / rounds
    if decay == "cosine":
        return learning_rate * (1 + jnp.cos(jnp.pi * done)) / 2
    if decay == "step":
        return learning_rate * jnp.where(done < 0.5, 1.0, jnp.where(done < 0.75, 0.1, 0.01))
    return jnp.asarray(learning_rate)


def optimizer(
    name: str,
    learning_rate: float | jax.Array,
    weight_decay: float = 0.0,
    arguments: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """Any optax optimiser, by its name.

    Args:
      name: a function of optax that takes ``learning_rate``: sgd, adam, adamw, lion, ...
      learning_rate: its step size; it may be traced.
      weight_decay: L2 coefficient added to the gradient before the optimiser sees it, on
        all params, as in PyTorch's SGD and Adam. For decoupled decay use an optimiser that
        has it, with its own ``weight_decay`` among ``arguments``.
      arguments: further arguments of the optimiser, e.g. ``{"momentum": 0.9}``.

    Returns:
      The optimiser.

    Raises:
      ConfigError: optax has no such optimiser, or it does not take these arguments.

    Example:
      >>> optimizer("sgd", 0.1, arguments={"momentum": 0.9}) is not None
      True
    """
    check_name("local.optimizer", name, optimizer_names())
    factory = getattr(optax, name)
    try:
        chosen = factory(learning_rate=learning_rate, **dict(arguments or {}))
    except TypeError as error:
        accepted = ", ".join(inspect.signature(factory).parameters)
        raise ConfigError(
            f"local.optimizer_args: {dict(arguments or {})} do not fit optax.{name}: {error}; "
            f"it takes {accepted}"
        ) from error
    if weight_decay:
        return optax.chain(optax.add_decayed_weights(weight_decay), chosen)
    return chosen
