"""The checkpoints of a run: written whole, kept as many as asked for, read back."""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from fedcode_jax.devices import lay
from fedcode_jax.errors import CheckpointError
from fedcode_jax.simulation import processes
from fedcode_jax.simulation.checkpoint import shards
from fedcode_jax.simulation.checkpoint.manifest import (
    MANIFEST,
    Manifest,
    check_leaves,
    described,
    load,
)
from fedcode_jax.simulation.state import State

_ROUND = "round_"


def save(
    folder: pathlib.Path,
    state: State,
    origin: Mapping[str, Any] | None = None,
    *,
    keep: int | None = None,
) -> pathlib.Path:
    """Writes a state to ``folder/round_NNNNNN``; an interrupted write leaves no such folder.

    All processes of a run call it. Each writes what it holds, if all see the folder; else the first
    one writes all of it.

    Args:
      folder: where the checkpoints of a run lie; made if needed.
      state: what to save.
      origin: what it is of, plain values, as of ``Manifest``.
      keep: how many checkpoints to leave, the last ones; None for all.

    Returns:
      The checkpoint's path.

    Raises:
      CheckpointError: it cannot be written; earlier ones are then as they were.
    """
    number = int(state.round)
    path = pathlib.Path(folder).absolute() / f"{_ROUND}{number:06d}"
    hidden = path.with_name(f".{path.name}")
    with processes.together(), _told(path):
        if processes.is_first():
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir(parents=True)
    if processes.any_of(not hidden.is_dir()):
        state = jax.tree.map(processes.whole, state)
    written = ""
    with processes.together(), _told(path):
        data = shards.encoded(state)
        if data is not None:
            name = f"part_{processes.number():03d}.safetensors"
            _write(hidden / name, data)
            written = json.dumps([name, hashlib.sha256(data).hexdigest()])
    files = dict(json.loads(text) for text in processes.gather(written) if text)
    with processes.together(), _told(path):
        if processes.is_first():
            manifest = Manifest(number, dict(origin or {}), described(state), files)
            _write(hidden / MANIFEST, manifest.encoded())
            _take_place(hidden, path)
            for old in list(rounds(folder).values())[: -keep if keep else 0]:
                shutil.rmtree(old)
    return path


def rounds(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The checkpoints in a folder by the round that they were made after, in ascending order."""
    found = (path for path in pathlib.Path(folder).glob(f"{_ROUND}*") if path.is_dir())
    return dict(sorted((int(p.name[6:]), p) for p in found if p.name[6:].isdigit()))


def latest(folder: pathlib.Path) -> tuple[pathlib.Path, Manifest]:
    """The checkpoint of the highest round in a folder that is whole; damaged ones are told of.

    Raises:
      CheckpointError: there is none.
    """
    damaged: list[str] = []
    for path in reversed(rounds(folder).values()):
        try:
            manifest = load(path)
            for _ in _files(path, manifest):
                pass
        except CheckpointError as error:
            damaged.append(str(error))
            continue
        for text in damaged:
            logging.getLogger("fedcode_jax").warning(
                "fedcode: %s; going on from %s", text, path.name
            )
        return path, manifest
    told = "; ".join(damaged) or f"{folder} holds no checkpoint"
    raise CheckpointError(f"{told}; start the run anew")


def restore(path: pathlib.Path, like: State) -> State:
    """Reads a state back, whatever number of devices and processes wrote it.

    All processes of a run call it, and the first one reads.

    Args:
      path: a checkpoint that ``save`` wrote.
      like: a state of the same experiment; its arrays give shapes and types.

    Returns:
      The saved state.

    Raises:
      CheckpointError: it cannot be read, or belongs to another experiment.
    """
    found: Any = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    with processes.together():
        if processes.is_first():
            found = read(path, like)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, like)
    return lay(processes.from_first(found), shardings)


def read(path: pathlib.Path, like: State) -> State:
    """Reads a state back in this process alone, and leaves it on the host.

    Args:
      path: a checkpoint that ``save`` wrote.
      like: a state of the same experiment, or its shapes.

    Returns:
      The saved state, as NumPy arrays.

    Raises:
      CheckpointError: as of ``restore``.
    """
    manifest = load(path)
    check_leaves(path, manifest, like)
    try:
        leaves = shards.decoded(_files(path, manifest), manifest.leaves)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path}: is damaged: {error}") from error
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _files(path: pathlib.Path, manifest: Manifest) -> Iterator[bytes]:
    """The files of a checkpoint, each held against its checksum."""
    for name, digest in manifest.files.items():
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"checkpoint {path}: {name} cannot be read ({error.strerror})"
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointError(f"checkpoint {path}: {name} is damaged")
        yield data


@contextlib.contextmanager
def _told(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path}: cannot be written ({error.strerror}); the one before it, if there "
            "is one, is as it was"
        ) from error


def _write(path: pathlib.Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _take_place(hidden: pathlib.Path, path: pathlib.Path) -> None:
    """Gives a folder its name, in place of one that has it."""
    if path.exists():
        old = path.with_name(f".old_{path.name}")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
        os.replace(hidden, path)
        shutil.rmtree(old)
    else:
        os.replace(hidden, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
