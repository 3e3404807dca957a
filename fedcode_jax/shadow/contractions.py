"""Sums of products and windows in NumPy: ``dot_general``, convolutions, pooling."""

import math
from typing import Any

import numpy as np

from fedcode_jax.shadow.primitives import padded


def dot_general(params: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum over the contracted axes of x y, for every index of the batch axes."""
    (x_summed, y_summed), (x_batch, y_batch) = params["dimension_numbers"]
    x_free = [axis for axis in range(x.ndim) if axis not in (*x_summed, *x_batch)]
    y_free = [axis for axis in range(y.ndim) if axis not in (*y_summed, *y_batch)]
    batch = [x.shape[axis] for axis in x_batch]
    summed = math.prod(x.shape[axis] for axis in x_summed)
    rows, columns = [x.shape[axis] for axis in x_free], [y.shape[axis] for axis in y_free]
    left = x.transpose(*x_batch, *x_free, *x_summed).reshape(*batch, math.prod(rows), summed)
    right = y.transpose(*y_batch, *y_summed, *y_free).reshape(*batch, summed, math.prod(columns))
    return (left @ right).reshape(*batch, *rows, *columns)


def convolution(params: Any, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``conv_general_dilated``: strides, padding, both dilations, groups of features or batches."""
    numbers = params["dimension_numbers"]
    x = x.transpose(numbers.lhs_spec)  # [N, C, ...]
    kernel = kernel.transpose(numbers.rhs_spec)  # [O, I, ...]
    spread = [(0, 0, 0)] * 2 + [
        (low, high, dilation - 1)
        for (low, high), dilation in zip(params["padding"], params["lhs_dilation"], strict=True)
    ]
    x = padded(x, 0, spread)
    parts = params["batch_group_count"]
    given = zip(np.split(x, parts, 0), np.split(kernel, parts, 0), strict=True)
    found = [_grouped(params, *pair) for pair in given]
    out = np.concatenate(found, 1)  # [N, O, ...]
    return out.transpose(np.argsort(numbers.out_spec))


def _grouped(params: Any, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    groups, space = params["feature_group_count"], tuple(range(2, x.ndim))
    windows = _windows(x, kernel.shape[2:], params["window_strides"], params["rhs_dilation"])
    places = windows.shape[2 : x.ndim]  # [N, C, places..., inside...]
    inside = tuple(range(x.ndim, windows.ndim))
    N, O = len(x), len(kernel)  # noqa: E741
    windows = windows.reshape(N, groups, -1, *windows.shape[2:])
    order = (1, 0, *(axis + 1 for axis in space), 2, *(axis + 1 for axis in inside))
    rows = windows.transpose(order).reshape(groups, N * math.prod(places), -1)
    columns = kernel.reshape(groups, O // groups, -1).transpose(0, 2, 1)
    out = (rows @ columns).reshape(groups, N, *places, O // groups)
    return np.moveaxis(out, (0, -1), (1, 2)).reshape(N, O, *places)


def _windows(x: np.ndarray, sizes: Any, strides: Any, dilations: Any, first: int = 2) -> np.ndarray:
    """[..., places..., inside...]: every window over the axes from ``first`` on."""
    axes = tuple(range(first, x.ndim))
    reach = [(size - 1) * step + 1 for size, step in zip(sizes, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axes)
    here = [slice(None, None, stride) for stride in strides]
    inside = [slice(None, None, step) for step in dilations]
    return windows[(*[slice(None)] * first, *here, *inside)]


def pooling(kind: str) -> Any:
    """The rule of ``reduce_window_max``, ``_min`` or ``_sum``."""
    empty = {"max": -np.inf, "min": np.inf, "sum": 0}[kind]

    def rule(params: Any, x: np.ndarray) -> np.ndarray:
        windows = _pooled(params, x, empty)
        return getattr(np, kind)(windows, axis=tuple(range(x.ndim, 2 * x.ndim)))

    return rule


def _pooled(params: Any, x: np.ndarray, empty: float) -> np.ndarray:
    pads = zip(params["padding"], params.get("base_dilation") or (1,) * x.ndim, strict=True)
    wide = padded(x, empty, [(low, high, dilation - 1) for (low, high), dilation in pads])
    dilations = params.get("window_dilation") or (1,) * x.ndim
    return _windows(wide, params["window_dimensions"], params["window_strides"], dilations, first=0)


def select_and_scatter_add(params: Any, source: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient of pooling by max: each window's goes to its first largest value."""
    if params["select_prim"].name != "ge":
        raise NotImplementedError(f"select_and_scatter_add by {params['select_prim'].name}")
    places = np.arange(x.size).reshape(x.shape)
    values = _pooled(params, x, -np.inf).reshape(*source.shape, -1)
    owners = _pooled(params, places.astype(np.float64), -1).reshape(*source.shape, -1)
    largest = np.argmax(values, -1)[..., None]
    chosen = np.take_along_axis(owners, largest, -1)[..., 0].astype(int)
    found = np.zeros(x.size, x.dtype)
    np.add.at(found, chosen.reshape(-1), source.reshape(-1))
    return found.reshape(x.shape)


RULES = {
    "conv_general_dilated": convolution,
    "dot_general": dot_general,
    "reduce_window_max": pooling("max"),
    "reduce_window_min": pooling("min"),
    "reduce_window_sum": pooling("sum"),
    "select_and_scatter_add": select_and_scatter_add,
}
"""By the name of the primitive."""
