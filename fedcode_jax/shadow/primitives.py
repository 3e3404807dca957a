"""JAX's primitives in NumPy, one equation each: elementwise ones, reductions, and changes of shape.

A rule is (params, *arrays) -> array, in whatever precision its arrays have.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Rule = Callable[..., Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _divided(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if np.issubdtype(x.dtype, np.integer):
        return np.trunc(np.divide(x, y, dtype=np.float64)).astype(x.dtype)
    return np.divide(x, y)


def _plain(function: Callable[..., Any]) -> Rule:
    """A rule without parameters."""
    return lambda params, *arrays: function(*arrays)


def _over_axes(function: Callable[..., Any]) -> Rule:
    return lambda params, x: function(x, axis=tuple(params["axes"]))


def _broadcast(params: Any, x: np.ndarray, *dynamic: Any) -> np.ndarray:
    shape, places = params["shape"], params["broadcast_dimensions"]
    wide = [1] * len(shape)
    for place, size in zip(places, np.shape(x), strict=True):
        wide[place] = size
    return np.broadcast_to(np.reshape(x, wide), shape)


def _reshape(params: Any, x: np.ndarray, *dynamic: Any) -> np.ndarray:
    order = params["dimensions"]
    return np.reshape(x if order is None else np.transpose(x, order), params["new_sizes"])


def _select(params: Any, which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    chosen = cases[0]
    for number, case in enumerate(cases[1:], 1):
        chosen = np.where(np.equal(which, number), case, chosen)
    return chosen


def _slice(params: Any, x: np.ndarray) -> np.ndarray:
    strides = params["strides"] or (1,) * x.ndim
    limits = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return x[tuple(slice(first, last, step) for first, last, step in limits)]


def _begin(starts: tuple, shape: tuple[int, ...], sizes: tuple[int, ...]) -> tuple:
    """Where a block begins, moved so that it lies inside, as JAX has it."""
    pairs = zip(starts, shape, sizes, strict=True)
    return tuple(int(np.clip(int(start), 0, whole - size)) for start, whole, size in pairs)


def _dynamic_slice(params: Any, x: np.ndarray, *starts: Any) -> np.ndarray:
    sizes = params["slice_sizes"]
    begin = _begin(starts, x.shape, sizes)
    return x[tuple(slice(b, b + size) for b, size in zip(begin, sizes, strict=True))]


def _dynamic_update(params: Any, x: np.ndarray, part: np.ndarray, *starts: Any) -> np.ndarray:
    begin = _begin(starts, x.shape, part.shape)
    changed = np.array(x)
    changed[tuple(slice(b, b + n) for b, n in zip(begin, part.shape, strict=True))] = part
    return changed


def padded(x: np.ndarray, value: Any, config: Any) -> np.ndarray:
    """Pads every axis.

    Args:
      x: any array.
      value: that fills.
      config: (low, high, between) of each axis; low and high may be negative, and then cut.
    """
    for axis, (low, high, between) in enumerate(config):
        if not (low or high or between):
            continue
        x = np.moveaxis(x, axis, 0)
        spread = np.full((max(len(x) + (len(x) - 1) * between, 0), *x.shape[1:]), value, x.dtype)
        spread[:: between + 1] = x
        ends = [(max(low, 0), max(high, 0)), *[(0, 0)] * (x.ndim - 1)]
        spread = np.pad(spread, ends, constant_values=value)
        x = spread[max(-low, 0) : len(spread) - max(-high, 0)]
        x = np.moveaxis(x, 0, axis)
    return x


def _cumulative(function: Callable[..., Any]) -> Rule:
    def rule(params: Any, x: np.ndarray) -> np.ndarray:
        axis = params["axis"]
        if params["reverse"]:
            return np.flip(function(np.flip(x, axis), axis), axis)
        return function(x, axis)

    return rule


def _clamp(params: Any, low: Any, x: np.ndarray, high: Any) -> np.ndarray:
    return np.minimum(np.maximum(x, low), high)


def _argument(function: Callable[..., Any]) -> Rule:
    def rule(params: Any, x: np.ndarray) -> np.ndarray:
        return function(x, axis=params["axes"][0]).astype(params["index_dtype"])

    return rule


def _split(params: Any, x: np.ndarray) -> list[np.ndarray]:
    return np.split(x, np.cumsum(params["sizes"])[:-1], params["axis"])


def _round(params: Any, x: np.ndarray) -> np.ndarray:
    if int(params["rounding_method"]) == 1:
        return np.round(x)
    return np.copysign(np.floor(np.abs(x) + 0.5), x)  # half away from zero


RULES: dict[str, Rule] = {
    **{
        name: _plain(getattr(np, name))
        for name in (
            *("abs", "ceil", "cos", "cosh", "exp", "exp2", "expm1", "floor", "log", "log1p"),
            *("sign", "sin", "sinh", "sqrt", "square", "tan", "tanh"),
        )
    },
    "add": _plain(np.add),
    "add_any": _plain(np.add),
    "and": _plain(np.bitwise_and),
    "argmax": _argument(np.argmax),
    "argmin": _argument(np.argmin),
    "atan2": _plain(np.arctan2),
    "broadcast_in_dim": _broadcast,
    "cbrt": _plain(np.cbrt),
    "clamp": _clamp,
    "concatenate": lambda params, *xs: np.concatenate(xs, params["dimension"]),
    "convert_element_type": _plain(lambda x: x),
    "copy": _plain(lambda x: x),
    "copy_p": _plain(lambda x: x),
    "cummax": _cumulative(np.maximum.accumulate),
    "cumprod": _cumulative(np.cumprod),
    "cumsum": _cumulative(np.cumsum),
    "div": _plain(_divided),
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
    "eq": _plain(np.equal),
    "erf": _plain(_erf),
    "erfc": _plain(np.vectorize(math.erfc, otypes=[np.float64])),
    "expand_dims": lambda params, x: np.expand_dims(x, tuple(params["dimensions"])),
    "ge": _plain(np.greater_equal),
    "gt": _plain(np.greater),
    "integer_pow": lambda params, x: x ** params["y"],
    "iota": lambda params: _broadcast(
        {"shape": params["shape"], "broadcast_dimensions": (params["dimension"],)},
        np.arange(params["shape"][params["dimension"]]),
    ),
    "is_finite": _plain(np.isfinite),
    "le": _plain(np.less_equal),
    "logistic": _plain(_logistic),
    "lt": _plain(np.less),
    "max": _plain(np.maximum),
    "min": _plain(np.minimum),
    "mul": _plain(np.multiply),
    "ne": _plain(np.not_equal),
    "neg": _plain(np.negative),
    "not": _plain(np.invert),
    "optimization_barrier": lambda params, *xs: list(xs),
    "or": _plain(np.bitwise_or),
    "pad": lambda params, x, value: padded(x, value, params["padding_config"]),
    "pow": _plain(np.power),
    "reduce_and": _over_axes(np.all),
    "reduce_max": _over_axes(np.max),
    "reduce_min": _over_axes(np.min),
    "reduce_or": _over_axes(np.any),
    "reduce_prod": _over_axes(np.prod),
    "reduce_sum": _over_axes(np.sum),
    "rem": _plain(np.fmod),
    "reshape": _reshape,
    "rev": lambda params, x: np.flip(x, tuple(params["dimensions"])),
    "round": _round,
    "rsqrt": _plain(lambda x: 1 / np.sqrt(x)),
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "stack": lambda params, *xs: np.stack(xs, params.get("axis", params.get("dimension", 0))),
    "stop_gradient": _plain(lambda x: x),
    "sub": _plain(np.subtract),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
}
"""By the name of the primitive."""
