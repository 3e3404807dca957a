"""Losses and metrics by name: of a registry, or ``module:function`` of one's own."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from fedcode_jax.clients.losses import PerSample, losses, metrics
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.limits import refuse
from fedcode_jax.names import imported, is_own


def loss_of(name: str, arguments: Mapping[str, Any] | None = None) -> PerSample:
    """The loss of a name, with further arguments.

    Args:
      name: a name of ``losses``, or ``module:function``.
      arguments: by keyword, for a function of one's own.

    Returns:
      ``(logits f32[B, K], labels i32[B]) -> f32[B]``.

    Raises:
      ConfigError: there is no such loss, or it does not take the arguments.

    Example:
      >>> loss_of("cross_entropy").__name__
      'cross_entropy'
      >>> loss_of("cross_entropy", {"gamma": 2.0})
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.loss_args: gamma is no argument of cross_entropy, ...
    """
    function = _function("local.loss", name, losses)
    known = [*inspect.signature(function).parameters][2:]
    for argument in arguments or {}:
        if argument not in known:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            raise ConfigError(
                f"local.loss_args: {argument} is no argument of {name}, which {takes} beside "
                "logits and labels"
            )
    return functools.partial(function, **arguments) if arguments else function


def metric_of(name: str) -> PerSample:
    """The metric of a name, of ``metrics`` or ``module:function``.

    Raises:
      ConfigError: there is no such metric.
    """
    return _function("metrics", name, metrics)


def _function(setting: str, name: str, known: Mapping[str, PerSample]) -> PerSample:
    if not is_own(name):
        try:
            check_name(setting, name, known)
        except ConfigError as error:
            raise ConfigError(f"{error}; or module:function, one of your own") from None
        return known[name]
    function = imported(setting, name)
    if not callable(function):
        refuse(setting, name, f"a function of logits and labels; it is {type(function).__name__}")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = [*inspect.signature(function).parameters.values()][:2]
    except (TypeError, ValueError):
        parameters = []
    if len(parameters) < 2 or any(p.kind not in kinds for p in parameters):
        refuse(setting, name, "the function of logits and labels itself, not one that makes it")
    return function
