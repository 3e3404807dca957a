"""Libraries that loggers write with, imported when one is asked for."""

import importlib
from typing import Any

from fedcode_jax.errors import ConfigError
from fedcode_jax.names import one_line


def library(name: str, module: str, extra: str) -> Any:
    """The module of a library, imported now.

    Args:
      name: of the logger that needs it.
      module: to import.
      extra: of the package, by which it is installed.

    Returns:
      The module.

    Raises:
      ConfigError: it is not installed, or cannot be imported.

    Example:
      >>> library("tensorboard", "no_such_writer", "tensorboard")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: log: 'tensorboard' needs the package no_such_writer, ...
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise ConfigError(f"log: {name!r}: importing {module} raised {error}") from error
        raise ConfigError(
            f"log: {name!r} needs the package {error.name}, which is not installed: "
            f"pip install 'fedcode_jax[{extra}]'"
        ) from None
    except Exception as error:
        raise ConfigError(f"log: {name!r}: importing {module} raised {one_line(error)}") from error
