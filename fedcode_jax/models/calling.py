"""How a model of one's own is called, and what is said of it when that fails."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from jax import Array


def options(module: Any, train: bool, mask: Array | None) -> dict[str, Any]:
    """Those of the ways to say that a model trains, and of a mask, that its ``__call__`` takes.

    Args:
      module: a flax module, linen or nnx.
      train: whether it trains.
      mask: bool[B], the samples that count, or None.

    Returns:
      Keyword arguments.

    Example:
      >>> import flax.linen as nn
      >>> options(nn.Dropout(0.5), True, None)
      {'deterministic': False}
    """
    ways = {"train": train, "training": train, "deterministic": not train, "mask": mask}
    known = inspect.signature(type(module).__call__).parameters
    return {name: value for name, value in ways.items() if name in known}


def takes_rngs(factory: Callable[..., Any]) -> bool:
    """Whether something can be called with ``rngs``."""
    # The class of an nnx module hides the signature of its constructor.
    inner = factory.func if isinstance(factory, functools.partial) else factory
    function: Any = inner.__init__ if inspect.isclass(inner) else inner
    try:
        return "rngs" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def named(thing: Any) -> str:
    """The name of a class or function, or the class of anything else."""
    inner = thing.func if isinstance(thing, functools.partial) else thing
    return inner.__name__ if hasattr(inner, "__name__") else type(inner).__name__


def told(error: Exception, *, length: int = 200) -> str:
    r"""An exception in one line: its type and the beginning of what it says.

    Example:
      >>> told(ValueError("one line\n  and another"))
      'ValueError: one line and another'
    """
    text = " ".join(str(error).split())
    text = text if len(text) <= length else text[:length] + " ..."
    return f"{type(error).__name__}: {text}"
