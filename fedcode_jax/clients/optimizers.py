"""Any optimiser of optax, by its name."""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from fedcode_jax import randomness
from fedcode_jax.clients.stepping import begun, updated
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.limits import refuse
from fedcode_jax.names import imported, is_own, one_line

_HOMES = {"": optax, "contrib.": optax.contrib}
_REFUSED = {
    "contrib.dpsgd": "it clips the gradient of every sample, and a client has that of its batch",
}
_WITHOUT_RATE = ("polyak_sgd",)
"""Optimisers that take no learning rate; optax has no mark that tells them from building blocks."""
_GIVEN = {"key": 0, "seed": 0}
"""What an optimiser may ask for besides a learning rate; clients draw by keys of their own."""


@functools.cache
def optimizer_names() -> tuple[str, ...]:
    """The optimisers of optax that a client can use: made of a learning rate alone, or of nothing.

    Those of ``optax.contrib`` have it in their names, as in ``contrib.prodigy``.

    Example:
      >>> {"adam", "sgd", "lion", "lbfgs", "contrib.muon"} <= set(optimizer_names())
      True
    """

    def usable(name: str) -> bool:
        function = _factory(name)
        part = name.removeprefix("contrib.")
        if part.startswith(("_", "scale_by")) or inspect.isclass(function) or name in _REFUSED:
            return False
        try:  # of whatever can be called: nadamw is no function but a functools.partial of one
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return False
        rated = "learning_rate" in parameters or name in _WITHOUT_RATE
        return rated and set(_required(parameters)) <= {"learning_rate", *_GIVEN}

    every = (prefix + name for prefix, home in _HOMES.items() for name in sorted(dir(home)))
    return tuple(name for name in every if usable(name))


def _factory(name: str) -> Any:
    if is_own(name):
        return imported("local.optimizer", name)
    prefix = "contrib." if name.startswith("contrib.") else ""
    return getattr(_HOMES[prefix], name.removeprefix(prefix), None)


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters.values() if p.default is p.empty and p.kind in named]


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

    One that adapts its step size (``contrib.prodigy``, ``contrib.dog``, ``lbfgs``) takes the
    learning rate as a factor of it, best 1. On ``polyak_sgd``, which has none, it has no effect.
    Schedule-free optimisers leave the weights at which they take gradients, not their average.

    Args:
      name: of ``optimizer_names()``: sgd, adam, adamw, lion, contrib.muon, ...; or
        ``module:factory`` of one's own, which is given the learning rate if it takes it.
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
      >>> optimizer("sgd", 0.1, arguments={"momentum": 0.9, "nesterov": True}) is not None
      True
      >>> optimizer("contrib.dpsgd", 0.1)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.optimizer: 'contrib.dpsgd' cannot be used; it clips ...
    """
    _check_usable(name)
    if weight_decay and name == "lbfgs":
        raise ConfigError(
            f"local.weight_decay: {weight_decay:g} cannot be used with lbfgs, which searches along "
            "the loss itself; leave it 0"
        )
    given = dict(arguments or {})
    if given or is_own(name):
        _check_fits(name, tuple(given.items()))
    chosen = _made(name, learning_rate, given)
    if weight_decay:
        return optax.chain(optax.add_decayed_weights(weight_decay), chosen)
    return chosen


def _made(name: str, learning_rate: Any, given: Mapping[str, Any]) -> optax.GradientTransformation:
    factory = _factory(name)
    parameters = inspect.signature(factory).parameters
    rate = {"learning_rate": learning_rate} if "learning_rate" in parameters else {}
    own = {"key": _GIVEN["key"]} if "key" in parameters and not {"key", "seed"} & set(given) else {}
    for each in _required(parameters):
        if each in _GIVEN and not {"key", "seed"} & set(given):
            own.setdefault(each, _GIVEN[each])
    fitted = {each: _fitted(value, parameters.get(each)) for each, value in given.items()}
    return factory(**rate, **own, **fitted)


def _fitted(value: Any, parameter: inspect.Parameter | None) -> Any:
    """A number as the type that the default has: a command line knows floats alone."""
    if parameter is not None and isinstance(value, int | float):
        default = parameter.default
        if isinstance(default, bool) and value in (0, 1):
            return bool(value)
        if isinstance(default, int) and not isinstance(default, bool) and value == int(value):
            return int(value)
    return value


def _check_usable(name: str) -> None:
    if is_own(name):
        if not callable(_factory(name)):
            refuse("local.optimizer", name, "a factory of an optimiser")
        return
    if name in optimizer_names() or (name not in _REFUSED and not callable(_factory(name))):
        check_name("local.optimizer", name, optimizer_names())
        return
    reason = _REFUSED.get(
        name,
        "it is not made of a learning rate alone; give LocalTraining.optimizer what optax makes "
        "of it",
    )
    raise ConfigError(f"local.optimizer: {name!r} cannot be used; {reason}")


@functools.lru_cache(maxsize=64)
def _check_fits(name: str, given: tuple[tuple[str, Any], ...]) -> None:
    """Traces a step with these arguments: a wrong one may come to light in it alone."""
    reason = _unfit(lambda rate: _made(name, rate, dict(given)))
    if not reason:
        return
    if not given:
        raise ConfigError(f"local.optimizer: {name} cannot be used: {reason}")
    accepted = ", ".join(inspect.signature(_factory(name)).parameters)
    where = name if is_own(name) else f"optax.{name}"
    raise ConfigError(
        f"local.optimizer_args: {dict(given)} do not fit {where}: {reason}; it takes {accepted}"
    )


def check_optimizer(chosen: Any) -> None:
    """Traces a step of an optimiser that was given as an object.

    Args:
      chosen: an optax transformation, or a function from a learning rate to one.

    Raises:
      ConfigError: it is neither, raises, or changes shapes or types.

    Example:
      >>> check_optimizer(optax.sgd)
      >>> check_optimizer("sgd")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.optimizer: str cannot be used; it must be an optax ...
    """
    is_made = isinstance(chosen, optax.GradientTransformation)
    if not is_made and not callable(chosen):
        raise ConfigError(
            f"local.optimizer: {type(chosen).__name__} cannot be used; it must be an optax "
            "transformation, or a function from a learning rate to one"
        )
    reason = _unfit(lambda rate: chosen if is_made else chosen(rate))
    if reason:
        raise ConfigError(f"local.optimizer: the one given cannot be used: {reason}")


def _unfit(make: Callable[[Any], Any]) -> str:
    """Why an optimiser cannot take a step, in a line; empty if it can."""

    def step(rate: jax.Array, params: Any) -> tuple:
        chosen = make(rate)
        if not isinstance(chosen, optax.GradientTransformation):
            raise TypeError(f"gives {type(chosen).__name__}, which is no optax transformation")
        state = begun(chosen, params, randomness.key(0))
        own: dict[str, Any] = {"value": jnp.zeros(()), "grad": params, "value_fn": optax.tree.norm}
        updates, after = updated(chosen, params, state, params, **own)
        return optax.apply_updates(params, updates), after, params, state

    shapes = {"kernel": jax.ShapeDtypeStruct((3, 2), jnp.float32)}
    try:
        with randomness.standard(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = jax.eval_shape(step, jax.ShapeDtypeStruct((), jnp.float32), shapes)
    except Exception as error:  # it may raise anything
        return one_line(error).rstrip(".")
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(part)] for part in found]
    return "" if kinds[:2] == kinds[2:] else "a step does not keep shapes and types"
