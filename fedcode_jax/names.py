"""Names of parts: those of a registry, ``module:factory`` of one's own, and what Python gave."""

import difflib
import importlib
import os
import re
import sys
from typing import Any

from fedcode_jax.errors import ConfigError

_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_GIVEN = "given "


def is_own(name: str) -> bool:
    """Whether a name says where a part of one's own is.

    Example:
      >>> is_own("my_models:tiny"), is_own("cnn"), is_own("mnist:3.0.1")
      (True, False, False)
    """
    return _OWN.fullmatch(name) is not None


def is_given(name: str) -> bool:
    """Whether a name stands for an object that was given in Python.

    Example:
      >>> is_given(given("Tiny", "1f3a9c0e"))
      True
    """
    return name.startswith(_GIVEN)


PARTS = {
    "model": "model.name",
    "dataset": "data.name",
    "partition": "partition.name",
    "algorithm": "algorithm.name",
    "schedule": "schedule.name",
    "network": "network.name",
    "optimizer": "local.optimizer",
    "loss": "local.loss",
    "metrics": "metrics",
    "augment": "local.augment",
}
"""By the keyword by which a part is given in Python: the setting that names it otherwise."""


def absent(setting: str, name: str) -> ConfigError:
    """The error for a part that was given in Python, and is not here now."""
    keyword = next((part for part, its in PARTS.items() if its == setting), "part")
    return ConfigError(
        f"{setting}: {name!r} stands for an object that was given in Python and is not here; give "
        f"it again: {keyword}=..., to fedcode_jax.run or sweep"
    )


def given(what: str, digest: str) -> str:
    """The name that stands for an object given in Python: what it is, and a digest of it."""
    return f"{_GIVEN}{what} {digest}"


def imported(setting: str, name: str) -> Any:
    """What ``module:attribute`` names; modules in the working directory are found as well.

    Args:
      setting: that has the name, for errors.
      name: the name.

    Returns:
      The object.

    Raises:
      ConfigError: there is no such module, it cannot be imported, or has nothing of that name.

    Example:
      >>> imported("local.optimizer", "optax:adam").__name__
      'adam'
      >>> imported("local.optimizer", "optax:adm")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.optimizer: 'optax:adm' is not there: ...
    """
    module_name, _, path = name.partition(":")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(setting, name, error) from error
        raise ConfigError(
            f"{setting}: {name!r} cannot be found: there is no module {error.name!r} in "
            f"{here} or among what is installed"
        ) from error
    except (Exception, SystemExit) as error:
        raise _broken(setting, name, error) from error
    where = getattr(found, "__file__", module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            known = [n for n in dir(found) if callable(getattr(found, n, None)) and n[0] != "_"]
            near = difflib.get_close_matches(part, known, n=1, cutoff=0.6)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{setting}: {name!r} is not there: {where} has no {part!r}{hint}")
        found = getattr(found, part)
    return found


def looked_in(path: str | os.PathLike[str]) -> str:
    """Where a path that is not there was looked for, if it does not say so itself.

    Example:
      >>> looked_in("/data/mine.npz"), looked_in("mine.npz").startswith(" (looked in /")
      ('', True)
    """
    return "" if os.path.isabs(path) else f" (looked in {os.getcwd()})"


def one_line(error: BaseException) -> str:
    """An error in one line: its kind, and the first line of what it says."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _broken(setting: str, name: str, error: BaseException) -> ConfigError:
    module = name.partition(":")[0]
    return ConfigError(f"{setting}: {name!r}: importing {module} raised {one_line(error)}")
