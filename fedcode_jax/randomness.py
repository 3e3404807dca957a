"""The one kind of key, and the one arithmetic, that results are made with, whatever a user set.

JAX has settings that change numbers: the width of floats, the generator behind a key, how a
generator cuts its stream over devices. A result is to follow from its config alone.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.experimental

P = ParamSpec("P")
R = TypeVar("R")
Parts = TypeVar("Parts", bound=NamedTuple)

IMPLEMENTATION = "threefry2x32"
"""Of all keys: the others give other numbers under ``vmap`` than one by one."""

# Before JAX 0.8 it has no other name.
_HOME: Any = jax if hasattr(jax, "enable_x64") else jax.experimental
enable_x64 = _HOME.enable_x64

_SETTINGS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "jax_enable_x64": (enable_x64, False),
    "jax_default_prng_impl": (jax.default_prng_impl, IMPLEMENTATION),
    "jax_threefry_partitionable": (jax.threefry_partitionable, True),
    "jax_numpy_dtype_promotion": (jax.numpy_dtype_promotion, "standard"),
    "jax_numpy_rank_promotion": (jax.numpy_rank_promotion, "allow"),
}


def key(seed: Any) -> jax.Array:
    """The key of a seed, of the same kind whatever ``jax_default_prng_impl`` says.

    Args:
      seed: a whole number from 0 to 2**32 - 1; a traced one is best u32[], since a Python number
        becomes int32 where a function is jitted.

    Returns:
      The key.

    Example:
      >>> jax.random.key_data(key(7)).tolist()
      [0, 7]
    """
    return jax.random.key(seed, impl=IMPLEMENTATION)


@contextlib.contextmanager
def standard() -> Iterator[None]:
    """A block that computes with JAX's own defaults; a user's settings are back after it.

    Only what differs is changed, so that nothing is traced anew where nothing was set.

    Example:
      >>> with enable_x64(True), standard():
      ...     jax.numpy.ones(1).dtype.name
      'float32'
    """
    with contextlib.ExitStack() as stack:
        for name, (context, value) in _SETTINGS.items():
            if getattr(jax.config, name) != value:
                stack.enter_context(context(value))
        yield


def standardised(function: Callable[P, R]) -> Callable[P, R]:
    """The function, called in a block of :func:`standard`.

    Example:
      >>> with enable_x64(True):
      ...     standardised(jax.numpy.arange)(3).dtype.name
      'int32'
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with standard():
            return function(*args, **kwargs)

    return wrapped


def standard_parts(factory: Callable[P, Parts]) -> Callable[P, Parts]:
    """The factory of a tuple of functions, each of which is then :func:`standardised`.

    Args:
      factory: of a NamedTuple; what in it is no plain function stays as it is.

    Returns:
      The factory.

    Example:
      >>> class Pair(NamedTuple):
      ...     draw: Callable[..., Any]
      ...     size: int
      >>> made = standard_parts(lambda: Pair(jax.random.uniform, 3))()
      >>> with enable_x64(True):
      ...     made.draw(key(0)).dtype.name, made.size
      ('float32', 3)
    """

    @functools.wraps(factory)
    def made(*args: P.args, **kwargs: P.kwargs) -> Parts:
        parts = factory(*args, **kwargs)
        plain = {
            name: standardised(part)
            for name, part in zip(parts._fields, parts, strict=True)
            if isinstance(part, types.FunctionType)
        }
        return parts._replace(**plain)

    return made
