"""Loggers by name: of the registry, or ``module:factory`` of one's own."""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.limits import refuse
from fedcode_jax.loggers.contract import Logger
from fedcode_jax.names import imported, is_own, one_line

Maker = Callable[[], Logger]

_HOMES = {
    "mlflow": "MLflow",
    "tensorboard": "TensorBoard",
    "wandb": "WandB",
}


def _of_house(name: str) -> Maker:
    def make() -> Logger:
        home = importlib.import_module(f"fedcode_jax.loggers.{name}")
        return getattr(home, _HOMES[name])()

    return make


registry: Mapping[str, Maker] = {name: _of_house(name) for name in _HOMES}
"""By name, what makes a logger; it imports the library, or says what to install."""


def makers(
    names: Sequence[str], own: Sequence[Any] = (), *, folder: str | None
) -> list[tuple[str, Maker]]:
    """What makes the loggers of a run, each tried once: libraries are imported, folders needed.

    Args:
      names: of the registry, or ``module:factory``.
      own: loggers that were given in Python.
      folder: of the run; None if it has none.

    Returns:
      A name and a maker of each; one given in Python is always the same.

    Raises:
      ConfigError: there is no such logger, its library is missing, it is none, or needs a folder.

    Example:
      >>> makers(["wandbb"], folder=None)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: log: unknown name 'wandbb'. Did you mean 'wandb'? ...
    """
    found: list[tuple[str, Maker]] = [(name, _maker(name)) for name in names]
    if not isinstance(own, list | tuple):
        refuse("loggers", type(own).__name__, "a list of loggers; set log to have some by name")
    for each in own:
        if isinstance(each, str):
            refuse("loggers", each, "a list of objects; set log to have some by name")
        found.append((_called(each, [name for name, _ in found]), functools.partial(_same, each)))
    for name, make in found:
        _check(name, make, folder)
    return found


def _maker(name: str) -> Maker:
    if is_own(name):
        factory = imported("log", name)
        if not callable(factory):
            refuse("log", name, f"a factory of loggers; it is {type(factory).__name__}")
        return factory
    try:
        check_name("log", name, registry)
    except ConfigError as error:
        raise ConfigError(f"{error}; or module:factory, one of your own") from None
    return registry[name]


def _called(logger: Any, taken: Sequence[str]) -> str:
    """The name of a logger given in Python: its class, numbered where there are several."""
    name = type(logger).__name__
    number = sum(each.partition(" ")[0] == name for each in taken)
    return f"{name} {number + 1}" if number else name


def _check(name: str, make: Maker, folder: str | None) -> None:
    try:
        logger = make()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"log: {name!r} raised {one_line(error)}") from error
    for method in ("begin", "round", "end"):
        if not callable(getattr(logger, method, None)):
            raise ConfigError(
                f"log: {name!r} has no method {method!r}; a logger has begin, round and end, see "
                "fedcode_jax.loggers.Logger"
            )
    if folder is None and getattr(logger, "needs_folder", False):
        where = getattr(logger, "elsewhere", "")
        raise ConfigError(
            f"log: {name!r} needs a folder to write into; set out"
            + (f", or the variable {where}" if where else "")
        )


def _same(logger: Any) -> Any:
    return logger
