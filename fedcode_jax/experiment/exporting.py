"""Writes the trained model of a run as files that other programs read."""

import os
import pathlib
from typing import Any, Literal, Unpack

from fedcode_jax import config as configs
from fedcode_jax import wire
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.experiment.given import Given
from fedcode_jax.experiment.running import Result
from fedcode_jax.experiment.trained import Trained, trained
from fedcode_jax.results.model_files import (
    Model,
    Variables,
    as_safetensors,
    by_path,
    check_finite,
    checksum,
)
from fedcode_jax.results.run_files import CONTENTS, MESSAGE, SAFETENSORS
from fedcode_jax.results.writing import check_writable, named, to_json, write_atomically
from fedcode_jax.version import VERSION

Form = Literal["both", "safetensors", "compressed"]
Which = Literal["deployed", "server"]
_FILES = {"safetensors": (SAFETENSORS,), "compressed": (MESSAGE, CONTENTS)}
_ACCURACY = {"deployed": "deployed_accuracy", "server": "test_accuracy"}
_KEPT = (
    "clients keep some of the variables to themselves; here these have the values that they "
    "started with"
)


def export(
    run: Result | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    form: Form = "both",
    weights: Which = "deployed",
    round: int | None = None,
    overwrite: bool = False,
    **given: Unpack[Given],
) -> dict[pathlib.Path, Model]:
    """Writes the model that a run has trained; ``results/EXPORT.md`` shows how to use it elsewhere.

    Args:
      run: the folder of a run with a checkpoint, or the result of one that has a folder.
      out: folder to write to; None for that of the run.
      form: ``safetensors`` for ``model.safetensors``, the variables as float32 by path;
        ``compressed`` for ``model.fedcode``, the bytes of a weights message of the run's algorithm,
        and ``model.json``, which says which variables lie in it; or ``both``.
      weights: what ``model.safetensors`` holds: what clients would receive (``deployed``) or the
        server's own weights. A message holds the deployed ones.
      round: the round of the checkpoint; None for the latest.
      overwrite: replaces files of an earlier export.
      **given: parts that were given in Python, as to ``run``.

    Returns:
      For each file of a model what it holds: the variables, and what it says of them.

    Raises:
      ConfigError: an option that cannot be used, a file that is there already, a part of the run
        that is not here, or an algorithm without a common model.
      CheckpointError: no folder of a run, no checkpoint, or values that are not finite.
      DataError: the run's data set cannot be read.
    """
    check_name("form", form, ("both", *_FILES))
    check_name("weights", weights, tuple(_ACCURACY))
    if form == "compressed" and weights == "server":
        raise ConfigError(
            "weights: 'server' has no use with form compressed: what is sent is the deployed model;"
            " take form safetensors for the server's weights"
        )
    folder = _folder_of(run)
    target = pathlib.Path(folder if out is None else out)
    forms = tuple(_FILES) if form == "both" else (form,)
    _check_free(target, [name for each in forms for name in _FILES[each]], overwrite)
    found = trained(folder, round, given)
    made = {}
    files: dict[str, bytes] = {}
    if "safetensors" in forms:
        tree = found.server if weights == "server" else found.deployed
        made[SAFETENSORS] = model = _model(found, folder, tree, weights)
        files[SAFETENSORS] = as_safetensors(*model)
    if "compressed" in forms:
        made[MESSAGE] = model = _model(found, folder, found.deployed, "deployed")
        files[MESSAGE] = _encoded(found)
        files[CONTENTS] = _contents(found, model).encode()
    with named(target):
        target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with named(target / name):
            write_atomically(target / name, content)
    return {target / name: model for name, model in made.items()}


def _folder_of(run: Result | str | os.PathLike[str]) -> pathlib.Path:
    folder = run.folder if isinstance(run, Result) else pathlib.Path(run)
    if folder is None:
        raise ConfigError("out: this run has no folder to take its model from; run it with an out")
    return folder


def _check_free(target: pathlib.Path, names: list[str], overwrite: bool) -> None:
    """Checks, before anything is loaded, that files can be written and none is overwritten."""
    if target.exists() and not target.is_dir():
        raise ConfigError(f"out: {str(target)!r} is not a folder; choose another --out")
    there = [name for name in names if (target / name).exists()]
    if there and not overwrite:
        raise ConfigError(
            f"out: {str(target / there[0])!r} exists already; choose another --out or pass "
            "--overwrite"
        )
    check_writable(target)


def _model(found: Trained, folder: pathlib.Path, tree: Any, weights: Which) -> Model:
    """The variables, finite, and what is said of them."""
    variables: Variables = by_path(tree)
    done = found.record["round"]
    otherwise = "take an earlier --round, which checkpoint_every makes a run keep"
    check_finite(variables, f"{folder}, round {done}", otherwise)
    blueprint = found.blueprint
    config, data = blueprint.config, blueprint.dataset
    about = {
        "fedcode_jax": VERSION,
        "weights": weights,
        "algorithm": config.algorithm.name,
        "round": done,
        "accuracy": found.record.get(_ACCURACY[weights]),
        "model": config.model.name,
        "model_settings": configs.to_dict(config)["model"],
        "data": config.data.name,
        "input_shape": data.input_shape,
        "mean": data.mean,
        "std": data.std,
        "class_names": data.class_names,
        "checksum": checksum(variables),
    }
    if hasattr(config.data, "features"):
        about["features"] = config.data.features
    if blueprint.algorithm.personal is not None:
        about["note"] = _KEPT
    return Model(variables, about)


def _encoded(found: Trained) -> bytes:
    try:
        return wire.encode(found.portable.message)
    except ValueError as error:
        raise ConfigError(
            f"form: this model is no single message ({error}); take form safetensors"
        ) from error


def _contents(found: Trained, model: Model) -> str:
    """What is said of a message: also the paths and shapes of the variables in each section."""
    names, layout = list(model.variables), found.portable.layout
    sections = [{names[i]: layout.shapes[i] for i in member} for member in layout.members]
    return to_json({**model.about, "sections": sections}, indent=2) + "\n"
