"""Whether and from where a run can go on that was begun before."""

import pathlib
from typing import Any

from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.experiment.building import Experiment
from fedcode_jax.experiment.origin import free_settings, module_checksums, origin_of
from fedcode_jax.names import PARTS, is_given
from fedcode_jax.simulation import checkpoint


def check_same(config: ExperimentConfig) -> str:
    """Checks that a run to be resumed has the config of its folder, but for what may change.

    Args:
      config: of the run, with its folder.

    Returns:
      The checksum of what it began with; empty if that was at random.

    Raises:
      ConfigError: there is no folder, what differs, or a run that diverged or is longer.
      CheckpointError: the folder is not that of a run.
    """
    if config.out is None:
        raise ConfigError("out: a run is resumed from its folder; name it")
    files = results.read(config.out)
    earlier = configs.from_yaml(files.config_text)
    free: dict[str, Any] = {name: _value(config, name) for name in free_settings(config)}
    was = configs.flattened(configs.to_dict(configs.replace(earlier, free)))
    now = configs.flattened(configs.to_dict(config))
    # What a choice has goes with its name, which is said first.
    names = sorted({*now, *was}, key=lambda n: (not n.endswith("name"), n.count("."), n))
    unlike = [name for name in names if now.get(name) != was.get(name)]
    if unlike:
        raise ConfigError(_difference(config, unlike, was, now))
    _check_open(config, files)
    return str(results.noted_versions(files.config_text).get("init") or "")


def is_finished(config: ExperimentConfig, path: pathlib.Path) -> bool:
    """Whether a run has done all of its rounds, and written what it came to.

    Args:
      config: of the run, with its folder.
      path: its latest whole checkpoint.
    """
    files = results.read(config.out or "")
    status = (files.summary or {}).get("status")
    done = len(files.records), checkpoint.load(path).round
    return status == "completed" and done == (config.rounds, config.rounds)


def going_on(experiment: Experiment) -> pathlib.Path:
    """The checkpoint from which a run goes on.

    Args:
      experiment: the run, with its folder.

    Returns:
      The latest one that is whole.

    Raises:
      CheckpointError: there is none, or it is of another config, version, data or partition.
    """
    folder = pathlib.Path(experiment.config.out or "")
    path, manifest = checkpoint.latest(folder / results.CHECKPOINTS)
    modules = module_checksums(experiment.config)
    here = origin_of(experiment, folder, manifest.round, modules)
    checkpoint.check_origin(path, manifest.origin, here)
    if manifest.round > experiment.config.rounds:
        raise CheckpointError(
            f"checkpoint {path}: is of round {manifest.round}, and rounds is "
            f"{experiment.config.rounds}; set more rounds"
        )
    return path


def _check_open(config: ExperimentConfig, files: results.RunFiles) -> None:
    """Checks that there is something to go on with, or that the run is finished."""
    done, status = len(files.records), (files.summary or {}).get("status")
    if status == "diverged":
        raise ConfigError(
            f"out: the run in {config.out!r} diverged in round {done}, so that there is nothing to "
            "go on with; start another with a smaller local.learning_rate, or --overwrite this one"
        )
    if done > config.rounds:
        raise ConfigError(
            f"rounds: {config.rounds} is less than the {done} that the run in {config.out!r} has "
            f"done; give at least {done}, or another --out"
        )


def _value(config: ExperimentConfig, name: str) -> Any:
    found: Any = config
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _difference(
    config: ExperimentConfig, unlike: list[str], was: dict[str, Any], now: dict[str, Any]
) -> str:
    """What a config has that the run to be resumed has not."""
    first = unlike[0]
    how = f"leave it out: fedcode run --resume {config.out}"
    if is_given(str(was.get(first))):
        part = next((part for part, its in PARTS.items() if its == first), "metrics")
        how = f"give the same object again: {part}=..."
    if first == "rounds":
        how = (
            "start anew: with this schedule or decay, what came so far depends on how many rounds "
            "there are"
        )
    each = [f"{name}: {now.get(name)!r}, there {was.get(name)!r}" for name in unlike]
    return f"{'; '.join(each)}: not what the run in {config.out!r} has; to resume it, {how}"
