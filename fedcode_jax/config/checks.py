"""What a setting may be: small checks that return the value in its normal form.

A check is called with the dotted name of the setting and its value. It returns the value to
store (an int for a whole number, a tuple for a list) or raises ``ConfigError``. The schema puts
checks into the annotations of its fields.
"""

import importlib
import math
import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from fedcode_jax.errors import ConfigError, check_name

Check = Callable[[str, Any], Any]


def refuse(setting: str, value: object, allowed: str) -> NoReturn:
    """Raises the error for a value that a setting cannot have.

    Args:
      setting: dotted name, e.g. ``local.epochs``.
      value: what was given.
      allowed: what it must be, as the end of "it must be ...".

    Raises:
      ConfigError: always.
    """
    raise ConfigError(f"{setting}: {value!r} cannot be used; it must be {allowed}")


def whole(low: int, high: int | None = None) -> Check:
    """A whole number in ``low .. high``; True and 2.0 are not whole numbers here.

    Args:
      low: smallest allowed value.
      high: largest allowed value; None for no limit.

    Returns:
      The check; it returns an int, also for NumPy integers.

    Example:
      >>> whole(1)("rounds", 60)
      60
      >>> whole(1, 65536)("algorithm.num_clusters", 0)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: algorithm.num_clusters: 0 cannot be used;
      it must be a whole number from 1 to 65536
    """
    allowed = "a whole number "
    allowed += f"of at least {low}" if high is None else f"from {low} to {high}"

    def check(setting: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            refuse(setting, value, allowed)
        number = int(value)
        if number < low or (high is not None and number > high):
            refuse(setting, value, allowed)
        return number

    return check


def real(low: float, *, above: bool = False) -> Check:
    """A finite number of at least ``low``, or above it.

    Args:
      low: the limit.
      above: the limit itself is not allowed.

    Returns:
      The check; it returns a float.

    Example:
      >>> real(0, above=True)("local.learning_rate", 1)
      1.0
      >>> real(0, above=True)("local.learning_rate", float("nan"))
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.learning_rate: nan cannot be used;
      it must be a finite number above 0
    """
    allowed = f"a finite number {'above' if above else 'of at least'} {low}"

    def check(setting: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            refuse(setting, value, allowed)
        number = float(value)
        if not math.isfinite(number) or number < low or (above and number == low):
            refuse(setting, value, allowed)
        return number

    return check


def probability(setting: str, value: Any) -> float:
    """A number from 0 to below 1."""
    number = real(0)(setting, value)
    if number >= 1:
        refuse(setting, value, "a probability, from 0 to below 1")
    return number


def text(setting: str, value: Any) -> str:
    """A string that is not blank."""
    if not isinstance(value, str) or not value.strip():
        refuse(setting, value, "a string")
    return value


def path(setting: str, value: Any) -> str:
    """A path, kept as a string so that it can be written to YAML."""
    return text(setting, os.fspath(value) if isinstance(value, os.PathLike) else value)


def paths(setting: str, value: Any) -> tuple[str, ...]:
    """One path or several; always kept as a tuple."""
    if isinstance(value, str | os.PathLike):
        value = (value,)
    if not isinstance(value, list | tuple) or not value:
        refuse(setting, value, "a path or a list of paths")
    return tuple(path(setting, each) for each in value)


def sizes(setting: str, value: Any) -> tuple[int, ...]:
    """A shape: one or more whole numbers of at least 1."""
    if not isinstance(value, list | tuple) or not value:
        refuse(setting, value, "a list of whole numbers, such as [28, 28, 1]")
    return tuple(whole(1)(setting, each) for each in value)


def named_numbers(setting: str, value: Any) -> dict[str, float]:
    """A mapping from names to finite numbers, copied."""
    if not isinstance(value, Mapping):
        refuse(setting, value, "a mapping of names to numbers, such as {momentum: 0.9}")
    for name in value:
        if not isinstance(name, str) or not name.isidentifier():
            refuse(setting, name, "a mapping whose keys are argument names")
    return {name: real(-math.inf)(f"{setting}.{name}", number) for name, number in value.items()}


def registered(module: str, attribute: str) -> Check:
    """A name in a registry of another room, which is imported only when a name is checked.

    Args:
      module: module that holds the registry, e.g. ``fedcode_jax.models``.
      attribute: the registry: any mapping or collection of names.

    Returns:
      The check; its error suggests the nearest known name.
    """

    def check(setting: str, value: Any) -> str:
        known = getattr(importlib.import_module(module), attribute)
        check_name(setting, text(setting, value), known)
        return value

    return check
