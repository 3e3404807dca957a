"""A digest of an object that was given in Python, to tell whether it is the same one again."""

import dataclasses
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from fedcode_jax.models.own_nnx import value_of

_AGAIN = b"again"
_LIBRARIES = frozenset({"jax", "jaxlib", "flax", "optax", "numpy", "fedcode_jax"})


def digest(value: Any) -> str:
    """Eight hexadecimal digits of what an object is made of; equal in every process.

    Arrays count by their contents, functions by their code, defaults, and the values that they
    enclose or read from their module, functions and classes of that module among them; other
    objects by their class and attributes. Of libraries the names count alone.

    Args:
      value: the object.

    Returns:
      The digits. The same object gives others under another version of Python.

    Example:
      >>> scaled = lambda factor: lambda x: factor * x
      >>> digest(scaled(2)) == digest(scaled(2)), digest(scaled(2)) == digest(scaled(3))
      (True, False)
    """
    return _hashed(value, (), {}).hex()[:8]


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


def _hashed(value: Any, above: tuple[int, ...], known: dict[int, tuple[bytes, Any]]) -> bytes:
    """The hash of a value; ``above`` are the objects that it is a part of, ``known`` those done."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return _of(f"{type(value).__name__} {value!r}".encode())
    if id(value) in known:
        return known[id(value)][0]
    if id(value) in above:
        return _AGAIN
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        pieces = _of_array(value)
    else:
        above = (*above, id(value))
        pieces = [_kind(value), *(_hashed(part, above, known) for part in _parts(value))]
    found = _of(*pieces)
    known[id(value)] = found, value  # kept, so that no other object gets its number
    return found


def _of(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(pieces)).digest()


def _of_array(value: Any) -> list[bytes]:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.ascontiguousarray(value)
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return [f"array {array.dtype} {array.shape}".encode(), content]


def _kind(value: Any) -> bytes:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}".encode()


def _parts(value: Any) -> list[Any]:
    """The parts by which a value counts, beside its name."""
    if callable(value) and hasattr(value, "__wrapped__"):
        value = inspect.unwrap(value)
    if isinstance(value, types.FunctionType):
        return _of_function(value)
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset]
    if isinstance(value, Mapping):
        return sorted(value.items(), key=lambda item: str(item[0]))
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, Sequence):  # nnx has lists of its own
        return list(value)
    if isinstance(value, type):
        return _of_class(value)
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return []
    if isinstance(value, nnx.Variable):
        return [type(value), value_of(value)]
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
        return [type(value), *(getattr(value, name, None) for name in fields if name != "parent")]
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    held = {
        **{name: getattr(value, name, None) for name in slots},
        **getattr(value, "__dict__", {}),
    }
    return [type(value), {name: each for name, each in held.items() if name[:1] != "_"}]


def _is_library(module: str | None) -> bool:
    root = (module or "").partition(".")[0]
    return root in _LIBRARIES or root in sys.stdlib_module_names


def _of_class(kind: type) -> list[Any]:
    if _is_library(kind.__module__):
        return []
    own = {name: each for name, each in vars(kind).items() if _counts(each) and name[:2] != "__"}
    calls = {name: vars(kind)[name] for name in ("__init__", "__call__") if name in vars(kind)}
    return [own, calls, *kind.__bases__]


def _of_function(function: types.FunctionType) -> list[Any]:
    code = function.__code__
    enclosed = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    parts = [*_of_code(code), function.__defaults__, function.__kwdefaults__, enclosed]
    if _is_library(function.__module__):
        return parts
    known = function.__globals__
    read = {name: known[name] for name in _names(code) if name in known and _counts(known[name])}
    return [*parts, read]


def _of_code(code: types.CodeType) -> list[Any]:
    constants: list[Any] = []
    for each in code.co_consts:
        constants += _of_code(each) if isinstance(each, types.CodeType) else [each]
    return [code.co_code, code.co_names, *constants]


def _names(code: types.CodeType) -> set[str]:
    """What a function may read from its module, also in functions that it defines."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _counts(value: Any) -> bool:
    """Whether what is read may be another the next time: data, and what is no library's."""
    if isinstance(value, types.FunctionType | type):
        return not _is_library(value.__module__)
    if isinstance(value, staticmethod | classmethod | property | functools.partial):
        return True
    data = bool | int | float | str | tuple | list | dict | set | frozenset | np.ndarray | jax.Array
    return isinstance(value, data)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
