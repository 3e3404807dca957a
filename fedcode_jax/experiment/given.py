"""Parts that were given in Python, and the names by which a config knows them again."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from fedcode_jax import algorithms, data, schedules
from fedcode_jax import config as configs
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.digest import described, digest
from fedcode_jax.limits import refuse
from fedcode_jax.names import PARTS, given, is_given


class Given(TypedDict, total=False):
    """Parts of one's own, given as objects in place of those that a config names.

    Attributes:
      model: a flax linen module, an nnx module, or a function of ``rngs`` that makes one; see
        ``models.check_model`` for what it must keep to.
      dataset: a ``data.Dataset``, or arrays as of ``data.as_dataset``.
      partition: a ``data.Partition``, or the row numbers of each client's training samples.
      algorithm: an ``algorithms.Algorithm``.
      schedule: a ``schedules.Schedule``, such as ``schedules.from_rule`` makes.
      network: a ``network.Network``, or the ``network.Links`` of all clients.
      optimizer: an optax transformation, or a function from a learning rate to one.
      loss: ``(logits f32[B, K], labels i32[B]) -> f32[B]``.
      metrics: a mapping of names to functions of the same kind: further figures.
      augment: ``(key, x[B, ...]) -> x``, of the samples in raw units.
    """

    model: Any
    dataset: Any
    partition: Any
    algorithm: algorithms.Algorithm
    schedule: schedules.Schedule
    network: Any
    optimizer: Any
    loss: Callable[..., Any]
    metrics: Mapping[str, Callable[..., Any]]
    augment: Callable[..., Any]


def named(config: ExperimentConfig, own: Mapping[str, Any]) -> ExperimentConfig:
    """The config with a name for each part that was given, by which it is known again.

    Args:
      config: of the experiment.
      own: the parts, as of ``Given``; None for one that was not given.

    Returns:
      The config; its YAML says which parts are not in it.

    Raises:
      ConfigError: a config that was made with another object, or has settings of the part.
      TypeError: there is no such part.
    """
    changes: dict[str, Any] = {}
    for part, value in own.items():
        if part not in PARTS:
            known = ", ".join(PARTS)
            raise TypeError(f"there is no part {part!r} to be given; there are {known}")
        if value is None:
            continue
        if part == "metrics":
            if not isinstance(value, Mapping) or not all(isinstance(n, str) for n in value):
                refuse("metrics", type(value).__name__, "a mapping of names to functions")
            names = [given(name, digest(function)) for name, function in value.items()]
            further = [name for name in config.metrics if not is_given(name)]
            changes["metrics"] = (*further, *names)
            continue
        changes[PARTS[part]] = _name(config, part, value)
    return configs.replace(config, changes) if changes else config


def _name(config: ExperimentConfig, part: str, value: Any) -> str:
    """The name of a part that was given; the config must have no settings of another one."""
    what = value.name if isinstance(value, data.Dataset) else described(value)
    name = given(what.replace("\n", " ").strip()[:40], _digest(value))
    section, _, last = PARTS[part].partition(".")
    found: Any = getattr(config, section)
    present = getattr(found, last)
    if is_given(present) and present != name:
        raise ConfigError(
            f"{part}: {name.removeprefix('given ')} is not {present.removeprefix('given ')}, with "
            f"which this config was made; give that, or set {PARTS[part]} to a name"
        )
    settings = [] if section == "local" else dataclasses.fields(found)
    beside = {"name", *getattr(found, "beside", ())}
    changed = [
        field.name
        for field in settings
        if field.name not in beside and getattr(found, field.name) != field.default
    ]
    if part == "optimizer" and found.optimizer_args:
        changed = ["optimizer_args"]
    if changed:
        raise ConfigError(
            f"{part}: was given, and the config has {section}.{changed[0]} of {present!r}, which "
            "then has no use; leave one of the two"
        )
    return name


def _digest(value: Any) -> str:
    return value.checksum[:8] if isinstance(value, data.Dataset | data.Partition) else digest(value)
