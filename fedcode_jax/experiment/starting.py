"""The weights that a run starts from: random ones, or those of a file or another run."""

import fnmatch
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax.algorithms.groups import names_of
from fedcode_jax.errors import ConfigError, FedcodeError
from fedcode_jax.experiment.blueprint import Blueprint
from fedcode_jax.experiment.trained import trained
from fedcode_jax.names import looked_in
from fedcode_jax.results.model_files import Variables, by_path, check_finite, few, read_model


def read(path: str) -> Variables:
    """The variables that ``init`` names.

    Args:
      path: a file of ``export``, any safetensors file, or the folder of a run, of which the
        server's weights are taken.

    Returns:
      They, by path.

    Raises:
      ConfigError: there is no such file, or it cannot be used.
    """
    place = pathlib.Path(path)
    if not place.exists():
        raise ConfigError(
            f"init: {path!r} does not exist{looked_in(place)}; give a file that "
            "fedcode export wrote, or the folder of a run"
        )
    way_out = ""
    try:
        if not place.is_dir():
            return read_model(place).variables
        way_out = "; or export the model where that can be read, and give the file"
        variables = by_path(trained(place).server)
        check_finite(variables, path, "take another run")
        return variables
    except FedcodeError as error:
        raise ConfigError(f"init: {error}{way_out}") from error


def first_weights(blueprint: Blueprint, found: Variables | None) -> Any:
    """The initial variables of the model of an experiment.

    Args:
      blueprint: of the experiment.
      found: what ``read`` gave for its ``init``; None if it has none.

    Returns:
      Those of ``found``, but for what ``init_skip`` leaves out, which is random.

    Raises:
      ConfigError: they do not fit the model.
    """
    if found is None:
        return blueprint.weights()
    check_fit(blueprint, found)
    skip = blueprint.config.init_skip
    leaves, structure = jax.tree_util.tree_flatten_with_path(blueprint.weights())
    names = names_of([path for path, _ in leaves])
    chosen = [
        leaf if _fits_any(name, skip) else jnp.asarray(found[name], leaf.dtype)
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, chosen)


def check_fit(blueprint: Blueprint, found: Variables) -> None:
    """Checks that variables are those of the model, but for what ``init_skip`` leaves out.

    Args:
      blueprint: of the experiment; its model is traced, nothing is computed.
      found: what ``read`` gave for its ``init``.

    Raises:
      ConfigError: which are not, or a glob of ``init_skip`` that names nothing.
    """
    config = blueprint.config
    leaves = jax.tree_util.tree_flatten_with_path(blueprint.shapes)[0]
    names = names_of([path for path, _ in leaves])
    own = {name: leaf.shape for name, (_, leaf) in zip(names, leaves, strict=True)}
    there = {name: array.shape for name, array in found.items()}
    for glob in config.init_skip:
        if not any(fnmatch.fnmatchcase(name, glob) for name in (*own, *there)):
            raise ConfigError(
                f"init_skip: {glob!r} names no variable; the model has {few(list(own))}"
            )
    wanted = [
        name for name in (*own, *(there.keys() - own)) if not _fits_any(name, config.init_skip)
    ]
    if not any(name in own for name in wanted):
        raise ConfigError("init_skip: leaves nothing of init; name fewer variables, or drop both")
    unlike = sorted(name for name in wanted if own.get(name) != there.get(name))
    if not unlike:
        return
    what = [_difference(name, own.get(name), there.get(name)) for name in unlike]
    module = unlike[0].rpartition("/")[0]
    raise ConfigError(
        f"init: {config.init!r} does not fit model.name {config.model.name}: {few(what)}; give "
        "the model's own, or leave these variables to chance with --init-skip, such as "
        f"--init-skip '{module}/*'"
    )


def _difference(name: str, own: Sequence[int] | None, there: Sequence[int] | None) -> str:
    if there is None:
        return f"{name} is not in it"
    if own is None:
        return f"{name} is not in the model"
    return f"{name} is {list(there)} there and {list(own)} in the model"


def _fits_any(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)
