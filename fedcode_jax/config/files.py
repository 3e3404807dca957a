"""Configs as dictionaries and as YAML, with errors that say where the mistake is."""

import dataclasses
import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.config import checks
from fedcode_jax.config.earlier import with_names
from fedcode_jax.config.schema import ExperimentConfig
from fedcode_jax.config.section import Section
from fedcode_jax.errors import ConfigError
from fedcode_jax.names import PARTS, is_given

OF_RUN = "config.yaml"
"""The file in the folder of a run that says what was run."""
_MOST_VALUES = 1_000_000


def to_dict(config: ExperimentConfig) -> dict[str, Any]:
    """The config as nested dictionaries of plain values, in the order of its fields.

    Args:
      config: the config.

    Returns:
      Only str, int, float, bool, None, lists and dictionaries.

    Example:
      >>> to_dict(ExperimentConfig())["partition"]["num_clients"]
      10
    """
    return plain(dataclasses.asdict(config))


def plain(value: Any) -> Any:
    """A setting as plain values: sections as dictionaries, tuples as lists, NumPy's as Python's."""
    if isinstance(value, Section):
        value = dataclasses.asdict(typing.cast(Any, value))
    value = checks.native(value)
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def flattened(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted name; in a section, a mapping with a name is a section too.

    Example:
      >>> flattened({"seed": 1, "algorithm": {"name": "fedavg", "up": {"name": "topk"}}})
      {'seed': 1, 'algorithm.name': 'fedavg', 'algorithm.up.name': 'topk'}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if not isinstance(value, Mapping):
            found[name] = value
            continue
        for last, each in value.items():
            inner = isinstance(each, Mapping) and "name" in each
            below = flattened({last: each}) if inner else {last: each}
            found |= {f"{name}.{key}": one for key, one in below.items()}
    return found


def from_dict(settings: Mapping[str, Any]) -> ExperimentConfig:
    """The config that nested dictionaries describe; what they leave out has its default.

    Args:
      settings: settings by name, a section as a dictionary of its own (or as its dataclass).

    Returns:
      The checked config.

    Raises:
      ConfigError: an unknown setting (the nearest is suggested) or a value that is not allowed.

    Example:
      >>> from_dict({"algorithm": {"num_clusters": 32}}).algorithm.num_clusters
      32
      >>> from_dict({"algorithm": {"num_cluster": 32}})
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: algorithm.num_cluster: there is no such setting.
      Did you mean algorithm.num_clusters?
    """
    return ExperimentConfig.read(with_names(settings))


def to_yaml(config: ExperimentConfig) -> str:
    """The config as YAML that ``from_yaml`` reads back to an equal config.

    Args:
      config: the config.

    Returns:
      One line a setting, in the order of the fields.

    Example:
      >>> print(to_yaml(ExperimentConfig())[:19])
      seed: 0
      rounds: 60
    """
    import yaml

    from fedcode_jax.config.yaml_loader import Dumper

    text = yaml.dump(to_dict(config), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return _said_of_given(config) + text


def _said_of_given(config: ExperimentConfig) -> str:
    """Says, in YAML's comments, that a config does not hold all that its run needs."""
    values = flattened(to_dict(config))
    named = {part: values.get(setting, "") for part, setting in PARTS.items()}
    missing = [
        part
        for part, names in named.items()
        if any(map(is_given, names if isinstance(names, list) else [names]))
    ]
    if not missing:
        return ""
    keywords = ", ".join(f"{part}=..." for part in missing)
    return (
        "# Parts of this run were given in Python and are not in this file. To repeat it, give\n"
        f"# them again: fedcode_jax.run(config, {keywords})\n"
    )


def from_yaml(source: str | os.PathLike[str]) -> ExperimentConfig:
    """The config in YAML text, or in a file.

    Args:
      source: the text; or a path, which is a ``Path`` or a string ending in .yaml or .yml.

    Returns:
      The checked config; settings that are left out have their defaults.

    Raises:
      ConfigError: an unreadable or empty file, broken YAML (with its line), or wrong settings.

    Example:
      >>> from_yaml("local: {learning_rate: 1e-2}").local.learning_rate
      0.01
    """
    if isinstance(source, os.PathLike) or re.fullmatch(r"[^\n]*\.ya?ml", source):
        return load(source)
    return _checked(_parse(source, "YAML text"), "YAML text")


def load(path: str | os.PathLike[str]) -> ExperimentConfig:
    """The config in a YAML file; see ``from_yaml``.

    Args:
      path: the file, e.g. the ``config.yaml`` of a finished run.

    Returns:
      The checked config.

    Raises:
      ConfigError: as ``from_yaml``; the message begins with the file's name.
    """
    return load_beside(path, ())[0]


def load_beside(
    path: str | os.PathLike[str], beside: Sequence[str]
) -> tuple[ExperimentConfig, dict[str, Any]]:
    """The config in a YAML file that may also hold other things at its top level.

    Args:
      path: the file.
      beside: their names, such as the axes of a sweep.

    Returns:
      The checked config, and those of the other things that are there.

    Raises:
      ConfigError: as ``from_yaml``.
    """
    settings = read_yaml(path)
    others = {name: settings.pop(name) for name in beside if name in settings}
    return _checked(settings, os.fspath(path)), others


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a YAML file as they are written, unchecked.

    Args:
      path: the file.

    Returns:
      They, nested.

    Raises:
      ConfigError: an unreadable or empty file, or broken YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text file in UTF-8") from error
    return _parse(text, os.fspath(path))


def _checked(settings: Mapping[str, Any], where: str) -> ExperimentConfig:
    try:
        return from_dict(settings)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _parse(text: str, where: str) -> dict[str, Any]:
    import yaml

    from fedcode_jax.config.yaml_loader import Loader

    try:
        settings = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if settings is None:
        raise ConfigError(f"{where}: is empty; it must hold settings, such as 'rounds: 60'")
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{where}: holds a {type(settings).__name__}; it must hold settings by name,"
            " such as 'rounds: 60'"
        )
    _check_size(settings, where)
    return settings


def _check_size(settings: dict[Any, Any], where: str) -> None:
    """Refuses what aliases make endless, or so large that it could as well be."""
    left, seen = [settings], 0
    while left:
        each = left.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ConfigError(
                f"{where}: holds more than {_MOST_VALUES:,} values, or an alias to what it is part "
                "of; write it without aliases"
            )
        if isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list | tuple | set):
            left += each
