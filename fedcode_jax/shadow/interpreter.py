"""Runs a traced JAX function in NumPy, every float of it in one precision.

What has no floats in it, such as random bits, JAX does itself: there is nothing to round.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from fedcode_jax.errors import ConfigError
from fedcode_jax.shadow import contractions, moves, primitives

_RULES = {**primitives.RULES, **contractions.RULES, **moves.RULES}
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
"""Parameters in which an equation may hold another program, to be run in its place."""


def traced(function: Callable[..., Any], *inputs: Any) -> Callable[..., Any]:
    """A JAX function as one that NumPy computes.

    Args:
      function: pure, of pytrees.
      *inputs: of the shapes and types that it is to be given.

    Returns:
      (precision, *inputs) -> what the function gives, as NumPy arrays of that float type; the
      inputs may be of it, too.

    Example:
      >>> double = traced(lambda x: jnp.sum(x * x), np.zeros(3, np.float32))
      >>> float(double(np.float64, np.array([1e-6, 0.0, 1.0]))) - 1 > 0
      True
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*inputs)
    _check(closed.jaxpr)
    structure = jax.tree.structure(shapes)

    def run(precision: Any, *given: Any) -> Any:
        with np.errstate(all="ignore"):
            found = evaluated(closed, jax.tree.leaves(given), precision)
        return jax.tree.unflatten(structure, found)

    return run


def evaluated(closed: Any, inputs: Sequence[Any], precision: Any) -> list[Any]:
    """What a program gives.

    Args:
      closed: the ``ClosedJaxpr``.
      inputs: an array each.
      precision: ``np.float64``; or ``np.float32``, in which results that the program declares
        narrower are rounded to that.

    Raises:
      ConfigError: it has an operation that is not known here.
    """
    return _run(closed.jaxpr, closed.consts, inputs, precision)


def _run(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any], precision: Any) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return _held(atom.val, atom.aval, precision) if isinstance(atom, Literal) else values[atom]

    def write(variables: Sequence[Any], found: Sequence[Any]) -> None:
        for variable, value in zip(variables, found, strict=True):
            values[variable] = _held(value, variable.aval, precision)

    write(jaxpr.constvars, consts)
    write(jaxpr.invars, inputs)
    for equation in jaxpr.eqns:
        write(equation.outvars, _equation(equation, [read(v) for v in equation.invars], precision))
    return [read(variable) for variable in jaxpr.outvars]


def _equation(equation: Any, given: list[Any], precision: Any) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in _CONTROL:
        return _CONTROL[name](params, given, precision)
    inner = _inner(params)
    if inner is not None and _has_floats(equation):
        return _run(*_parts(inner), given, precision)
    if name in _RULES and not any(isinstance(each, jax.Array) for each in given):
        found = _RULES[name](params, *given)
    else:  # nothing but whole numbers, keys and bits
        found = equation.primitive.bind(*map(jnp.asarray, given), **params)
    return found if equation.primitive.multiple_results else [found]


def _cond(params: Any, given: list[Any], precision: Any) -> Sequence[Any]:
    branches = params["branches"]
    number = int(np.clip(int(given[0]), 0, len(branches) - 1))
    return _run(*_parts(branches[number]), given[1:], precision)


def _platform(params: Any, given: list[Any], precision: Any) -> Sequence[Any]:
    """Of a choice by platform, what is for all others: the plain form, which no machine suits."""
    platforms = params["platforms"]
    plain = [number for number, names in enumerate(platforms) if names is None]
    return [np.int32(plain[0] if plain else len(platforms) - 1)]


def _scan(params: Any, given: list[Any], precision: Any) -> Sequence[Any]:
    fixed, kept = params["num_consts"], params["num_carry"]
    consts, carry, rows = given[:fixed], given[fixed : fixed + kept], given[fixed + kept :]
    order = range(params["length"])
    outputs = []
    for number in reversed(order) if params["reverse"] else order:
        row = [each[number] for each in rows]
        found = _run(*_parts(params["jaxpr"]), [*consts, *carry, *row], precision)
        carry = list(found[:kept])
        outputs.append(found[kept:])
    if params["reverse"]:
        outputs.reverse()
    return [*carry, *[np.stack(column) for column in zip(*outputs, strict=True)]]


def _while(params: Any, given: list[Any], precision: Any) -> Sequence[Any]:
    of_test, of_body = params["cond_nconsts"], params["body_nconsts"]
    test, body = given[:of_test], given[of_test : of_test + of_body]
    carry = given[of_test + of_body :]
    while bool(_run(*_parts(params["cond_jaxpr"]), [*test, *carry], precision)[0]):
        carry = list(_run(*_parts(params["body_jaxpr"]), [*body, *carry], precision))
    return carry


_CONTROL = {"cond": _cond, "platform_index": _platform, "scan": _scan, "while": _while}


def _inner(params: Any) -> Any:
    found = (params[name] for name in _INNER if name in params)
    return next((each for each in found if isinstance(each, ClosedJaxpr | Jaxpr)), None)


def _parts(program: Any) -> tuple[Any, Sequence[Any]]:
    return (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())


def _is_float(aval: Any) -> bool:
    return hasattr(aval, "dtype") and jnp.issubdtype(aval.dtype, jnp.floating)


def _has_floats(equation: Any) -> bool:
    return any(_is_float(v.aval) for v in (*equation.invars, *equation.outvars))


def _held(value: Any, aval: Any, precision: Any) -> Any:
    """A value as it is kept: floats in the precision, keys as they are, all else as declared."""
    if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return value
    array = np.asarray(value)
    if not _is_float(aval):
        return array.astype(aval.dtype, copy=False)
    if precision is np.float32 and aval.dtype.itemsize < 4:
        array = array.astype(aval.dtype)
    return array.astype(precision, copy=False)


def _check(jaxpr: Any) -> None:
    """Refuses a program with an operation that is not known here, before anything is run."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in _CONTROL:
            for each in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr)
            ):
                if isinstance(each, ClosedJaxpr):
                    _check(each.jaxpr)
        elif (inner := _inner(equation.params)) is not None:
            _check(_parts(inner)[0])
        elif _has_floats(equation) and name not in _RULES:
            from_float = name == "bitcast_convert_type" and _is_float(equation.invars[0].aval)
            if name != "bitcast_convert_type" or from_float:
                raise ConfigError(
                    f"check: the operation {name!r} of the model, its loss or its optimizer cannot "
                    "be done in float64 here; run without the check, or use another part"
                )
