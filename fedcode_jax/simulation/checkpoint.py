"""Saving the state of a run and going on from it."""

import pathlib
from typing import Any

import jax
import numpy as np

from fedcode_jax.devices import lay
from fedcode_jax.errors import CheckpointError
from fedcode_jax.simulation import processes
from fedcode_jax.simulation.state import State


def save(folder: pathlib.Path, state: State) -> pathlib.Path:
    """Writes a state to ``folder/round_NNNNNN``; an interrupted write leaves no such folder.

    All processes of a run call it, and the first one writes all of the state.

    Args:
      folder: where the checkpoints of a run lie; made if needed.
      state: what to save.

    Returns:
      The checkpoint's path.

    Raises:
      CheckpointError: it cannot be written.
    """
    path = pathlib.Path(folder).absolute() / f"round_{int(state.round):06d}"
    leaves = _named_leaves(state)
    with processes.together():
        if processes.is_first():
            try:
                with _checkpointer() as checkpointer:
                    checkpointer.save(path, leaves, force=True)
            except (OSError, ValueError) as error:
                raise CheckpointError(f"cannot write checkpoint {path}: {error}") from error
    return path


def rounds(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The checkpoints in a folder by the round that they were made after, in ascending order."""
    found = (p for p in pathlib.Path(folder).glob("round_[0-9]*") if p.name[6:].isdigit())
    return dict(sorted((int(path.name[6:]), path) for path in found))


def latest(folder: pathlib.Path) -> pathlib.Path:
    """The checkpoint of the highest round in a folder.

    Raises:
      CheckpointError: there is none.
    """
    found = rounds(folder)
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint; start the run anew")
    return found[max(found)]


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
    found = _zeros(like)
    with processes.together():
        if processes.is_first():
            found = _read(path, found)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, like)
    return lay(_filled(like, processes.from_first(found)), shardings)


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
    return _filled(like, _read(path, _zeros(like)))


def _zeros(like: State) -> dict[str, np.ndarray]:
    leaves = enumerate(jax.tree.leaves(like))
    return {_name(i): np.zeros(leaf.shape, leaf.dtype) for i, leaf in leaves if leaf.size}


def _filled(like: State, found: dict[str, np.ndarray]) -> State:
    """The state of these leaves; those that are not there have no elements."""
    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(
        structure,
        [found.get(_name(i), np.zeros(x.shape, x.dtype)) for i, x in enumerate(leaves)],
    )


def _read(path: pathlib.Path, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    try:
        with _checkpointer() as checkpointer:
            found = checkpointer.restore(pathlib.Path(path).absolute())
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error}") from error
    if _shapes(found) != _shapes(expected):
        raise CheckpointError(
            f"checkpoint {path} does not fit this experiment: its arrays have other shapes; use "
            "the config of the run folder"
        )
    return found


def _checkpointer() -> Any:
    """Orbax's, for this process alone: it is not to wait for the others."""
    import orbax.checkpoint as ocp

    if not processes.several():
        return ocp.StandardCheckpointer()
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix="fedcode"
    )
    return ocp.Checkpointer(
        ocp.StandardCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
    )


def _named_leaves(state: State) -> dict[str, np.ndarray]:
    """The leaves to be written; those without elements, which orbax refuses, need not be."""
    leaves = enumerate(jax.tree.leaves(state))
    return {_name(i): processes.whole(leaf) for i, leaf in leaves if leaf.size}


def _shapes(leaves: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: (array.shape, array.dtype) for name, array in leaves.items()}


def _name(index: int) -> str:
    return f"leaf_{index:04d}"
