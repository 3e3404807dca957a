"""Trained models as files: safetensors, or a message with a page that says what lies in it.

``EXPORT.md`` beside this file says what is in them, and reads each without this package.
"""

import hashlib
import importlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedcode_jax import wire
from fedcode_jax.algorithms.groups import names_of
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results.writing import to_json
from fedcode_jax.wire.format import MAGIC

Variables = dict[str, np.ndarray]
"""float32 by path, such as ``params/head/kernel``."""

_MADE_HERE = {"fedcode_jax", "model_settings", "input_shape"}
"""What is said of an exported model, with its checksum; of models of others nothing is."""
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": jax.numpy.bfloat16}


class Model(NamedTuple):
    """What a file holds: the variables by path, and what it says of them."""

    variables: Variables
    about: Mapping[str, Any]


def by_path(weights: Any) -> Variables:
    """The variables of a model by their paths.

    Example:
      >>> by_path({"params": {"head": {"bias": np.ones(1)}}})
      {'params/head/bias': array([1.], dtype=float32)}
    """
    leaves = jax.tree_util.tree_flatten_with_path(weights)[0]
    names = names_of([path for path, _ in leaves])
    arrays = (np.array(leaf, np.float32, order="C") for _, leaf in leaves)
    return dict(zip(names, arrays, strict=True))


def checksum(variables: Variables) -> str:
    """SHA-256 (hex) over name, shape and float32 values of every variable, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(variables):
        digest.update(f"{name} {variables[name].shape}\n".encode())
        digest.update(variables[name].astype("<f4").tobytes())
    return digest.hexdigest()


def check_finite(variables: Variables, where: str, otherwise: str) -> None:
    """Checks that there are numbers alone.

    Args:
      variables: of a model.
      where: what has them, for the error.
      otherwise: what to do if there are others.

    Raises:
      CheckpointError: a value that is not finite.
    """
    bad = [name for name, array in variables.items() if not np.isfinite(array).all()]
    if bad:
        raise CheckpointError(f"{where}: has values that are not finite in {few(bad)}; {otherwise}")


def as_safetensors(variables: Variables, about: Mapping[str, Any]) -> bytes:
    """A safetensors file of a model.

    Args:
      variables: by path, which are the names of its tensors.
      about: what its metadata say, strings as they are and other values as JSON.

    Returns:
      The bytes.

    Raises:
      ConfigError: the package is not installed.
    """
    noted = {k: v if isinstance(v, str) else to_json(v) for k, v in about.items()}
    return _safetensors("safetensors.numpy").save(variables, noted)


def read_model(path: str | os.PathLike[str]) -> Model:
    """Reads a model that ``export`` wrote, or any safetensors file of floats.

    Args:
      path: a safetensors file; or a message, with its ``.json`` beside it.

    Returns:
      The model, in float32.

    Raises:
      CheckpointError: no such file, or one that is truncated or damaged; values that are not
        finite.
      ConfigError: a package that is needed is not installed.
    """
    path = Path(path)
    data = _bytes(path)
    is_message = data.startswith(MAGIC)
    variables, about = _from_message(path, data) if is_message else _from_safetensors(path, data)
    noted = about.get("checksum")
    if noted is None and (is_message or _MADE_HERE & about.keys()):
        raise CheckpointError(f"{path}: is damaged: it lacks its checksum; copy or export it again")
    if noted is not None and noted != checksum(variables):
        raise CheckpointError(
            f"{path}: is damaged: its values are not those of its checksum; copy or export it again"
        )
    check_finite(variables, str(path), "export an earlier round, or train with a smaller step")
    return Model(variables, about)


def _from_safetensors(path: Path, data: bytes) -> Model:
    library = _safetensors("safetensors")
    try:
        tensors = library.deserialize(data)
        size = int.from_bytes(data[:8], "little")
        about = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (library.SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is no whole safetensors file and no message ({error}); copy or export it "
            "again"
        ) from error
    variables = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _TYPES:
            raise CheckpointError(
                f"{path}: {name} is of type {tensor['dtype']}; save it as one of "
                f"{', '.join(_TYPES)}"
            )
        array = np.frombuffer(tensor["data"], _TYPES[tensor["dtype"]]).reshape(tensor["shape"])
        with np.errstate(over="ignore"):  # what float32 does not hold is not finite
            variables[name] = array.astype(np.float32)
    return Model(variables, about)


def _from_message(path: Path, data: bytes) -> Model:
    beside = path.with_suffix(".json")
    try:
        message = wire.decode(data)
        if message.kind != wire.Kind.WEIGHTS:
            raise wire.DecodeError("it is a message without weights")
    except wire.DecodeError as error:
        raise CheckpointError(f"{path}: cannot be decoded: {error}; copy or export it again") from (
            error
        )
    try:
        about = json.loads(_bytes(beside))
        variables = _named(message.sections, about["sections"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{beside}: does not say which variables lie in {path.name}; copy both of one export"
        ) from error
    return Model(variables, {name: each for name, each in about.items() if name != "sections"})


def _named(sections: Sequence[Any], named: Sequence[Mapping[str, Sequence[int]]]) -> Variables:
    """The variables of sections; ValueError where these do not hold so many values."""
    variables: Variables = {}
    for section, shapes in zip(sections, named, strict=True):
        sizes = [math.prod(shape) for shape in shapes.values()]
        total = sum(sizes)
        codes = getattr(section, "codes", None)
        if codes is not None and len(codes) != -(-total // section.block):
            raise ValueError(f"{len(codes)} codes for {total} values")
        parts = np.split(np.asarray(wire.values(section, total)), np.cumsum(sizes))
        if parts.pop().size:
            raise ValueError(f"more than {total} values")
        for (name, shape), part in zip(shapes.items(), parts, strict=True):
            variables[name] = part.reshape(shape)
    return variables


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _safetensors(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            "safetensors: this package writes and reads .safetensors files and is not installed; "
            "pip install safetensors, or take the compressed form"
        ) from error


def few(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many there are besides.

    Example:
      >>> few(["a", "b", "c", "d"])
      'a, b, c and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
