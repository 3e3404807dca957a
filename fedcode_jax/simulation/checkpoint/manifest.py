"""What a checkpoint says of itself: of which run it is, which arrays it holds, in which files."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from fedcode_jax.errors import CheckpointError

MANIFEST = "manifest.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The manifest of a checkpoint.

    Attributes:
      round: rounds done.
      origin: what it is of, plain values: config, versions, checksums of data and partition, and
        whatever else must be the same for a run to go on from it.
      leaves: of each array of the state, in order: ``name``, ``shape`` and ``dtype``.
      files: SHA-256 (hex) of each file by its name.
      format: of the checkpoint; ``FORMAT`` is the one that is written.
    """

    round: int
    origin: Mapping[str, Any]
    leaves: list[dict[str, Any]]
    files: Mapping[str, str]
    format: int = FORMAT

    def encoded(self) -> bytes:
        """As JSON, with a checksum over all of it."""
        body = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return json.dumps({"body": body, "sha256": _digest(body.encode())}).encode()


def load(path: pathlib.Path) -> Manifest:
    """Reads the manifest of a checkpoint.

    Args:
      path: of the checkpoint.

    Returns:
      The manifest; that its files are whole is not known yet.

    Raises:
      CheckpointError: there is none, it is damaged, or of another format.
    """
    try:
        outer = json.loads((path / MANIFEST).read_bytes())
        body = outer["body"]
        if _digest(body.encode()) != outer["sha256"]:
            raise ValueError("its checksum is another")
        found = json.loads(body)
        number = found["format"]
        manifest = Manifest(**found) if number == FORMAT else None
        if any(name == ".." or pathlib.PurePath(name).name != name for name in found["files"]):
            raise ValueError("it names a file that is not in its folder")
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path}: its {MANIFEST} cannot be read ({error.strerror})"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path}: its {MANIFEST} is damaged") from error
    if manifest is None:
        raise CheckpointError(
            f"checkpoint {path}: is of format {number}, and this version reads {FORMAT}; use the "
            "version of fedcode_jax that wrote it"
        )
    return manifest


def check_origin(path: pathlib.Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Checks that a checkpoint is of the run that is to go on from it.

    Args:
      path: of the checkpoint, for the error.
      there: the origin in its manifest.
      here: what a checkpoint of this run would have.

    Raises:
      CheckpointError: what differs, each with both values.
    """
    first, second = _flat(there), _flat(here)
    unlike = [
        f"{name} was {first.get(name, 'not set')!r} and is {second.get(name, 'not set')!r}"
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name)
    ]
    if unlike:
        raise CheckpointError(
            f"checkpoint {path}: is of another run: {'; '.join(unlike)}; give what it was made "
            "with, or start a run of its own from its model with --init"
        )


def described(state: Any) -> list[dict[str, Any]]:
    """Name, shape and type of each array of a state, or of its shapes."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [
        {
            "name": jax.tree_util.keystr(path),
            "shape": list(leaf.shape),
            "dtype": jax.numpy.dtype(leaf.dtype).name,
        }
        for path, leaf in leaves
    ]


def check_leaves(path: pathlib.Path, manifest: Manifest, like: Any) -> None:
    """Checks that a checkpoint holds the arrays of a state.

    Raises:
      CheckpointError: the first that differs.
    """
    expected = described(like)
    for there, here in zip(manifest.leaves, expected, strict=False):
        if there != here:
            raise CheckpointError(
                f"checkpoint {path}: does not fit this experiment: it has {_shown(there)}, and "
                f"here is {_shown(here)}; use the config of the run folder"
            )
    if len(manifest.leaves) != len(expected):
        raise CheckpointError(
            f"checkpoint {path}: does not fit this experiment: it has {len(manifest.leaves)} "
            f"arrays, and here are {len(expected)}; use the config of the run folder"
        )


def _shown(leaf: Mapping[str, Any]) -> str:
    return f"{leaf['name']} {leaf['dtype']}{leaf['shape']}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
