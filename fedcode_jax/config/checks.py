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
from typing import Any

from fedcode_jax.errors import check_name
from fedcode_jax.limits import LARGEST, LARGEST_INT, check_real, check_whole, refuse
from fedcode_jax.names import is_given, is_own

Check = Callable[[str, Any], Any]


def whole(low: int, high: int = LARGEST_INT) -> Check:
    """A whole number in ``low .. high``; True and 2.0 are not whole numbers here.

    Args:
      low: smallest allowed value.
      high: largest allowed value.

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
    return lambda setting, value: check_whole(setting, value, low, high)


def real(low: float, high: float = LARGEST, *, above: bool = False) -> Check:
    """A finite number in ``low .. high`` that float32 can hold.

    Args:
      low: smallest allowed value.
      high: largest allowed value.
      above: ``low`` itself is not allowed.

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
    return lambda setting, value: check_real(setting, value, low, high, above=above)


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


def texts(setting: str, value: Any) -> tuple[str, ...]:
    """Strings that are not blank, or one; always kept as a tuple."""
    if not isinstance(value, str | list | tuple):
        refuse(setting, value, "a string or a list of strings")
    return tuple(text(setting, each) for each in ([value] if isinstance(value, str) else value))


def sizes(setting: str, value: Any) -> tuple[int, ...]:
    """A shape: one or more whole numbers of at least 1."""
    if not isinstance(value, list | tuple) or not value:
        refuse(setting, value, "a list of whole numbers, such as [28, 28, 1]")
    return tuple(whole(1)(setting, each) for each in value)


def metrics(setting: str, value: Any) -> tuple[str, ...]:
    """Names of further metrics: of the registry, ``module:function``, or given in Python."""
    known = registered("fedcode_jax.clients.losses", "metrics")
    return _names(setting, value, "[top5]", lambda at, name: is_given(name) or known(at, name))


def loggers(setting: str, value: Any) -> tuple[str, ...]:
    """Names of loggers: of the registry, or ``module:factory``.

    Example:
      >>> loggers("log", "tensorboard")
      ('tensorboard',)
    """
    known = registered("fedcode_jax.loggers", "registry")
    return _names(setting, value, "[tensorboard]", known)


def _names(setting: str, value: Any, example: str, known: Check) -> tuple[str, ...]:
    """Different names, each known or one's own; one alone is a list too."""
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, list | tuple):
        refuse(setting, value, f"a list of names, such as {example}")
    for each in values:
        if not is_own(text(setting, each)):
            known(setting, each)
    if len(set(values)) < len(values):
        refuse(setting, value, "a list of different names")
    return tuple(values)


def truth(setting: str, value: Any) -> bool:
    """True or false."""
    if type(value).__name__ not in ("bool", "bool_") or getattr(value, "shape", ()) != ():
        refuse(setting, value, "true or false")
    return bool(value)


def native(value: Any) -> Any:
    """A value of NumPy or JAX as one of Python: scalars, arrays of any rank, and ranges as lists.

    Example:
      >>> import numpy as np
      >>> native(np.int64(3)), native(np.arange(2)), native(range(2)), native("cnn")
      (3, [0, 1], [0, 1], 'cnn')
    """
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return value.tolist()
    return list(value) if isinstance(value, range) else value


def is_plain(value: Any) -> bool:
    """Whether a value is one that YAML holds: None, a truth, a number, a string, or a row of them.

    Example:
      >>> is_plain((1, 2.0, "three")), is_plain(len)
      (True, False)
    """
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return type(value) in (type(None), bool, int, float, str)  # no enumeration, which YAML lacks


def frozen(value: Any) -> Any:
    """A plain value with its lists as tuples, so that it can be hashed.

    Example:
      >>> frozen([1, [2, 3]])
      (1, (2, 3))
    """
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def plain(kind: type | None) -> Check:
    """A plain value: of a kind (bool, int, float for any number, str or tuple), or any.

    Example:
      >>> plain(float)("model.width", 2)
      2
      >>> plain(int)("model.depth", "three")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: model.depth: 'three' cannot be used; it must be a whole number
    """

    def check(setting: str, value: Any) -> Any:
        if kind is bool:
            return truth(setting, value)
        if kind is str:
            return text(setting, value)
        if kind is tuple:
            if not isinstance(value, list | tuple) or not is_plain(value):
                refuse(setting, value, "a list of plain values")
            return frozen(value)
        if kind in (int, float):
            is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            if is_whole:
                return int(value)
            return (
                real(-math.inf)(setting, value)
                if kind is float
                else refuse(setting, value, "a whole number")
            )
        if not is_plain(value):
            refuse(setting, value, "a plain value, such as a number or a string")
        return frozen(value)

    return check


def named_values(setting: str, value: Any) -> dict[str, Any]:
    """A mapping from names to finite numbers, true or false, strings, or lists of these, copied.

    Example:
      >>> named_values("local.optimizer_args", {"momentum": 0.9, "nesterov": True})
      {'momentum': 0.9, 'nesterov': True}
    """
    if not isinstance(value, Mapping):
        refuse(setting, value, "a mapping of names to values, such as {momentum: 0.9}")
    for name in value:
        if not isinstance(name, str) or not name.isidentifier():
            refuse(setting, name, "a mapping whose keys are argument names")

    def held(name: str, each: Any) -> Any:
        each = native(each)
        if isinstance(each, bool):
            return bool(each)
        if isinstance(each, str):
            return text(name, each)
        if isinstance(each, list | tuple):
            return tuple(held(name, item) for item in each)
        number = real(-math.inf)(name, each)
        # An optimiser may count by it: a whole number stays one.
        return int(each) if isinstance(each, numbers.Integral) else number

    return {name: held(f"{setting}.{name}", each) for name, each in value.items()}


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
