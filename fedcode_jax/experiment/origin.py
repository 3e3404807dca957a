"""What a checkpoint is of: all that must be the same for a run to go on from it."""

import hashlib
import importlib
import pathlib
from collections.abc import Mapping
from typing import Any

from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.config.schema import CHECKPOINTING
from fedcode_jax.errors import CheckpointError
from fedcode_jax.experiment.building import Experiment
from fedcode_jax.names import PARTS, is_own
from fedcode_jax.results.run_files import METRICS

_WHATEVER_ROUNDS = ("periodic", "paired", "warmup", "step_size", "drift")
"""Schedules by which what was sent so far does not depend on how many rounds there are to be."""
_VERSIONS = ("fedcode_jax", "jax", "jaxlib", "flax", "optax")
"""Of what computes the figures."""


def free_settings(config: ExperimentConfig) -> tuple[str, ...]:
    """The settings that may change when a run of this config goes on, by dotted name."""
    always = ("out", *CHECKPOINTING, "log", "execution.devices")
    # Where else what came so far depended on how many rounds there were to be.
    is_steady = config.local.decay == "none" and config.schedule.name in _WHATEVER_ROUNDS
    return (*always, "rounds") if is_steady else always


def origin_of(
    experiment: Experiment, folder: pathlib.Path, rounds: int, modules: Mapping[str, str]
) -> dict[str, Any]:
    """What a checkpoint of an experiment is of, as its manifest has it.

    Args:
      experiment: what runs.
      folder: of the run, with the records of at least so many rounds.
      rounds: that are done.
      modules: as of ``module_checksums`` when the experiment was built.

    Returns:
      Plain values: ``config`` but for what may change, ``modules``, ``versions``, checksums of
      ``data``, ``partition`` and of what the run began with, and that of the records so far.
    """
    config = experiment.config
    settings = configs.flattened(configs.to_dict(config))
    versions = results.installed_versions(experiment.info["device"])
    return {
        "config": {
            name: configs.plain(value)
            for name, value in settings.items()
            if name not in free_settings(config)
        },
        "modules": dict(modules),
        "versions": {name: versions[name] for name in _VERSIONS if name in versions},
        "data": experiment.dataset.checksum,
        "partition": experiment.partition.checksum,
        "init": experiment.init_checksum or "random",
        "metrics.jsonl": records_checksum(folder, rounds),
    }


def module_checksums(config: ExperimentConfig) -> dict[str, str]:
    """Checksums of the modules of one's own that a config names.

    Args:
      config: of the run; what is ``module:factory`` in it has been imported.

    Returns:
      SHA-256 (hex) of each module's file by the module's name, empty where it has none. What a
      module imports in turn is not looked at.

    Example:
      >>> list(module_checksums(configs.from_dict({"local": {"optimizer": "optax:adam"}})))
      ['optax']
    """
    named: list[str] = []
    for setting, value in configs.flattened(configs.to_dict(config)).items():
        if setting in PARTS.values() or setting.endswith(".name"):
            named += [value] if isinstance(value, str) else list(value or ())
    found = {}
    for module in sorted({name.partition(":")[0] for name in named if is_own(name)}):
        file = getattr(importlib.import_module(module), "__file__", None)
        found[module] = "" if file is None else _checksum_of(pathlib.Path(file))
    return found


def _checksum_of(file: pathlib.Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error


def records_checksum(folder: pathlib.Path, rounds: int) -> str:
    """SHA-256 (hex) of the records of a run's first rounds, as its folder has them.

    Raises:
      CheckpointError: it does not have so many, or cannot be read.
    """
    path = folder / METRICS
    try:
        *lines, _ = path.read_bytes().split(b"\n")  # what follows the last break was cut off
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if len(lines) < rounds:
        raise CheckpointError(f"{path}: has {len(lines)} rounds, but the checkpoint {rounds}")
    return hashlib.sha256(b"\n".join(lines[:rounds])).hexdigest()
