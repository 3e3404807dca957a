"""The arrays of a state as bytes: of each process those parts that it holds, and back together."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from fedcode_jax.simulation import processes

_TYPES = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"},
    **{"U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8"},
}
"""Those of safetensors that are written; others, such as bfloat16, go as unsigned integers."""


def encoded(state: Any) -> bytes | None:
    """This process's parts of the arrays of a state, as a safetensors file.

    Args:
      state: arrays, each of which is spread over devices or not. What several devices hold is
        written by the first of them.

    Returns:
      The file, or None if nothing is to be written here. A tensor is called after the array's
      number; the metadata say where parts lie.
    """
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    places: dict[str, list[list[int]]] = {}
    for number, leaf in enumerate(jax.tree.leaves(state)):
        for part, (place, values) in enumerate(_parts(leaf)):
            name = f"{number:04d}.{part}"
            tensors[name] = _plain(values)
            places[name] = place
    if not tensors:
        return None
    return save(tensors, {"places": json.dumps(places)})


def decoded(files: Iterable[bytes], leaves: list[dict[str, Any]]) -> list[np.ndarray]:
    """The arrays of a state from the files of all processes.

    Args:
      files: as of ``encoded``.
      leaves: of each array ``shape`` and ``dtype``.

    Returns:
      The arrays.

    Raises:
      ValueError: the files do not hold all of them, or parts that do not fit.
    """
    arrays = [np.zeros(leaf["shape"], jax.numpy.dtype(leaf["dtype"])) for leaf in leaves]
    missing = [array.size for array in arrays]
    for data in files:
        for number, place, values in _tensors(data):
            where: tuple[Any, ...] = (*(slice(*bounds) for bounds in place), ...)
            target = arrays[number][where]
            if target.nbytes != values.nbytes or target.shape != values.shape:
                raise ValueError(f"array {number} has parts of another shape")
            target[...] = values.view(target.dtype)
            missing[number] -= target.size
    if any(missing):
        raise ValueError("parts of arrays are missing")
    return arrays


def _parts(leaf: Any) -> Iterator[tuple[list[list[int]], np.ndarray]]:
    """Where the parts of an array lie that this process is to write, and their values."""
    if not leaf.size:
        return
    if not isinstance(leaf, jax.Array):
        if processes.is_first():
            yield [[0, size] for size in leaf.shape], np.asarray(leaf)
        return
    for shard in leaf.addressable_shards:
        if shard.replica_id == 0:
            bounds = [
                [*cut.indices(size)[:2]] for cut, size in zip(shard.index, leaf.shape, strict=True)
            ]
            yield bounds, np.asarray(shard.data)


def _plain(values: np.ndarray) -> np.ndarray:
    """Values of a type that safetensors has, of the same bytes."""
    if values.dtype.kind == "V":  # bfloat16 and its like
        values = values.view(f"<u{values.dtype.itemsize}")
    return np.ascontiguousarray(values).reshape(values.shape)


def _tensors(data: bytes) -> Iterator[tuple[int, list[list[int]], np.ndarray]]:
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(data)
        size = int.from_bytes(data[:8], "little")
        places: Mapping[str, Any] = json.loads(
            json.loads(data[8 : 8 + size])["__metadata__"]["places"]
        )
        for name, tensor in tensors:
            values = np.frombuffer(tensor["data"], _TYPES[tensor["dtype"]])
            shape = tensor["shape"]
            if values.size != math.prod(shape):
                raise ValueError(f"{name} is cut off")
            yield int(name.partition(".")[0]), places[name], values.reshape(shape)
    except (SafetensorError, KeyError, TypeError, IndexError) as error:
        raise ValueError(str(error)) from error
