"""``gather`` and ``scatter`` in NumPy: where each value lies, JAX tells of whole numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import GatherDimensionNumbers, GatherScatterMode

_NOWHERE = -1


def gather(params: Any, x: np.ndarray, indices: Any) -> np.ndarray:
    """The values at places; what lies outside is nan, if the program does not promise otherwise."""
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    places = _places(x.shape, indices, numbers, sizes, params["mode"])
    missing = np.nan if params["fill_value"] is None else params["fill_value"]
    return np.where(places == _NOWHERE, missing, x.reshape(-1)[places])


def scatter(params: Any, x: np.ndarray, indices: Any, updates: np.ndarray) -> np.ndarray:
    """Values put at places, of which those outside are dropped."""
    places, inside = _targets(params, x.shape, indices, updates.shape)
    changed = np.array(x).reshape(-1)
    changed[places[inside]] = updates[inside]
    return changed.reshape(x.shape)


def scatter_add(params: Any, x: np.ndarray, indices: Any, updates: np.ndarray) -> np.ndarray:
    """Values added at places, likewise."""
    places, inside = _targets(params, x.shape, indices, updates.shape)
    changed = np.array(x).reshape(-1)
    np.add.at(changed, places[inside], updates[inside])
    return changed.reshape(x.shape)


def _targets(params: Any, shape: Any, indices: Any, updated: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where each value of the updates goes, and whether that is inside."""
    numbers = params["dimension_numbers"]
    single = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    window = iter(numbers.update_window_dims)
    sizes = tuple(1 if d in single else updated[next(window)] for d in range(len(shape)))
    as_gather = GatherDimensionNumbers(
        offset_dims=numbers.update_window_dims,
        collapsed_slice_dims=numbers.inserted_window_dims,
        start_index_map=numbers.scatter_dims_to_operand_dims,
        operand_batching_dims=numbers.operand_batching_dims,
        start_indices_batching_dims=numbers.scatter_indices_batching_dims,
    )
    places = _places(shape, indices, as_gather, sizes, params["mode"])
    return places, places != _NOWHERE


def _places(shape: Any, indices: Any, numbers: Any, sizes: Any, mode: Any) -> np.ndarray:
    own = jnp.arange(int(np.prod(shape)), dtype=jnp.int32).reshape(shape)
    filling = mode not in (GatherScatterMode.CLIP, GatherScatterMode.PROMISE_IN_BOUNDS)
    mode = GatherScatterMode.FILL_OR_DROP if filling else mode
    given = {"dimension_numbers": numbers, "slice_sizes": sizes, "mode": mode}
    found = jax.lax.gather(own, jnp.asarray(indices), fill_value=_NOWHERE, **given)
    return np.asarray(found)


RULES = {
    "gather": gather,
    "scatter": scatter,
    "scatter-add": scatter_add,
    "scatter_add": scatter_add,
}
"""By the name of the primitive."""
