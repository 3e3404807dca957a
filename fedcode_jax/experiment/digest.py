"""A digest of an object that was given in Python, to tell whether it is the same one again."""

import dataclasses
import functools
import hashlib
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

_DEEPEST = 40


def digest(value: Any) -> str:
    """Eight hexadecimal digits of what an object is made of; equal in every process.

    Arrays count by their contents, functions by their code, defaults, and the values that they
    enclose or read from their module; other objects by their class and attributes.

    Args:
      value: the object.

    Returns:
      The digits. The same object gives others under another version of Python.

    Example:
      >>> scaled = lambda factor: lambda x: factor * x
      >>> digest(scaled(2)) == digest(scaled(2)), digest(scaled(2)) == digest(scaled(3))
      (True, False)
    """
    found = hashlib.sha256()
    for piece in _pieces(value, (), 0):
        found.update(piece.encode() if isinstance(piece, str) else piece)
        found.update(b"\0")
    return found.hexdigest()[:8]


def described(value: Any) -> str:
    """What an object is called: a function or class by its name, others by that of their class.

    Example:
      >>> described(np.mean), described(functools.partial(np.mean, axis=0))
      ('mean', 'mean')
    """
    if isinstance(value, functools.partial):
        return described(value.func)
    if isinstance(value, tuple) and hasattr(value, "_fields") and callable(value[0]):
        # Of closures: the function that made them.
        return value[0].__qualname__.partition(".")[0].lstrip("_")
    name = getattr(value, "__name__", None) or type(value).__name__
    return "function" if name == "<lambda>" else str(name)


def _pieces(value: Any, above: tuple[int, ...], depth: int) -> Iterator[str | bytes]:
    """What is digested of a value; ``above`` are the objects that it is a part of."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield f"{type(value).__name__} {value!r}"
        return
    if id(value) in above or depth > _DEEPEST:
        yield "again"
        return
    above = (*above, id(value))
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        yield from _of_array(value)
        return
    yield _kind(value)
    for part in _parts(value):
        yield from _pieces(part, above, depth + 1)


def _of_array(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.ascontiguousarray(value)
    yield f"array {array.dtype} {array.shape}"
    yield array.tobytes()


def _kind(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def _parts(value: Any) -> list[Any]:
    """The parts by which a value counts, beside its name."""
    value = inspect.unwrap(value) if callable(value) and hasattr(value, "__wrapped__") else value
    if isinstance(value, nnx.Module):
        return [type(value), *jax.tree.leaves(nnx.to_pure_dict(nnx.state(value)))]
    if isinstance(value, types.FunctionType):
        return _of_function(value)
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, Mapping):
        return [
            each for item in sorted(value.items(), key=lambda item: str(item[0])) for each in item
        ]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, type):
        own = [each for each in vars(value).values() if isinstance(each, types.FunctionType)]
        return own if not value.__module__.startswith(_LIBRARIES) else []
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return []
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
        return [type(value), *(getattr(value, name, None) for name in fields if name != "parent")]
    return [type(value), *(vars(value).items() if hasattr(value, "__dict__") else [])]


_LIBRARIES = ("jax", "flax", "optax", "numpy", "builtins", "typing")


def _of_function(function: types.FunctionType) -> list[Any]:
    code = function.__code__
    enclosed = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    known = function.__globals__
    read = [(n, known[n]) for n in code.co_names if n in known and _is_plain(known[n])]
    return [*_of_code(code), function.__defaults__, function.__kwdefaults__, enclosed, read]


def _of_code(code: types.CodeType) -> list[Any]:
    constants: list[Any] = []
    for each in code.co_consts:
        constants += _of_code(each) if isinstance(each, types.CodeType) else [each]
    return [code.co_code, code.co_names, *constants]


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | tuple | np.ndarray | jax.Array)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
