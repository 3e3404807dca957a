"""Saving the state of a run and going on from it."""

import pathlib
from typing import Any

import jax
import numpy as np

from fedcode_jax.errors import CheckpointError
from fedcode_jax.simulation.round import State


def save(folder: pathlib.Path, state: State) -> pathlib.Path:
    """Writes a state to ``folder/round_NNNNNN``; an interrupted write leaves no such folder.

    Args:
      folder: where the checkpoints of a run lie; made if needed.
      state: what to save.

    Returns:
      The checkpoint's path.

    Raises:
      CheckpointError: it cannot be written.
    """
    import orbax.checkpoint as ocp

    path = pathlib.Path(folder).absolute() / f"round_{int(state.round):06d}"
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, _named_leaves(state), force=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot write checkpoint {path}: {error}") from error
    return path


def latest(folder: pathlib.Path) -> pathlib.Path:
    """The checkpoint of the highest round in a folder.

    Raises:
      CheckpointError: there is none.
    """
    found = sorted(p for p in pathlib.Path(folder).glob("round_[0-9]*") if p.name[6:].isdigit())
    if not found:
        raise CheckpointError(f"{folder} holds no checkpoint; start the run anew")
    return found[-1]


def restore(path: pathlib.Path, like: State) -> State:
    """Reads a state back.

    Args:
      path: a checkpoint that ``save`` wrote.
      like: a state of the same experiment; its arrays give shapes and types.

    Returns:
      The saved state.

    Raises:
      CheckpointError: it cannot be read, or belongs to another experiment.
    """
    import orbax.checkpoint as ocp

    expected = _named_leaves(like)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            found = checkpointer.restore(pathlib.Path(path).absolute())
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error}") from error
    shapes = lambda leaves: {name: (x.shape, x.dtype) for name, x in leaves.items()}  # noqa: E731
    if shapes(found) != shapes(expected):
        raise CheckpointError(
            f"checkpoint {path} does not fit this experiment: its arrays have other shapes; "
            "resume with the config of the run folder"
        )
    named = enumerate(jax.tree.leaves(like))
    leaves = [jax.numpy.asarray(found.get(_name(i), leaf)) for i, leaf in named]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named_leaves(state: State) -> dict[str, Any]:
    """The leaves to be written; those without elements, which orbax refuses, need not be."""
    leaves = enumerate(jax.tree.leaves(state))
    return {_name(i): np.asarray(leaf) for i, leaf in leaves if leaf.size}


def _name(index: int) -> str:
    return f"leaf_{index:04d}"
