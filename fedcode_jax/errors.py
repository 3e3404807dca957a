"""Errors a user can cause, each naming the setting, its value and the way out."""

import difflib
from collections.abc import Iterable


class FedcodeError(Exception):
    """Base of the errors below: the command prints their message and exits with 2."""


class ConfigError(FedcodeError, ValueError):
    """A setting has a value that cannot be used: which, its value, what is allowed."""


class DataError(FedcodeError, ValueError):
    """A data set is missing or malformed: which file or array, and what to do."""


class CheckpointError(FedcodeError, RuntimeError):
    """A checkpoint or run folder cannot be written or read back."""


class WireCheckError(FedcodeError, RuntimeError):
    """A message did not survive encoding and decoding, or its counted size is not its length."""


class CheckError(FedcodeError, RuntimeError):
    """A run differs from the same calculation in float64 by more than rounding can."""


class ElsewhereError(FedcodeError, RuntimeError):
    """Another process of the run failed: which, and its message."""


def check_name(setting: str, value: str, known: Iterable[str]) -> None:
    """Checks that a name is known, and suggests the nearest one if it is not.

    Args:
      setting: the setting as the user writes it, e.g. ``algorithm.name``.
      value: what was given.
      known: the allowed names.

    Raises:
      ConfigError: ``value`` is not in ``known``.

    Example:
      >>> check_name("model.name", "cnn", ["cnn", "mlp"])
      >>> check_name("model.name", "cmn", ["cnn", "mlp"])
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: model.name: unknown name 'cmn'. Did you mean 'cnn'? ...
    """
    names = sorted(known)
    if value in names:
        return
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{setting}: unknown name {value!r}.{hint} Known: {', '.join(names)}")
