"""Configs as dictionaries and as YAML, with errors that say where the mistake is."""

import dataclasses
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcode_jax.config.schema import ExperimentConfig
from fedcode_jax.errors import ConfigError

# A run writes these beside its settings; they are read past, so its config repeats the run.
IGNORED = frozenset({"versions"})


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
    """A setting as plain values: tuples as lists, also inside of dictionaries."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


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
    return _build(ExperimentConfig, settings)


def _build(section: Any, settings: Mapping[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(section)}
    arguments: dict[str, Any] = {}
    for name, value in settings.items():
        if section is ExperimentConfig and name in IGNORED:
            continue
        if name not in fields:
            raise _unknown(f"{section.section}{name}")
        kind = fields[name].type
        if dataclasses.is_dataclass(kind) and not isinstance(value, kind):  # type: ignore[arg-type]
            if value is None:  # a section whose settings are all commented out
                continue
            if not isinstance(value, Mapping):
                full = f"{section.section}{name}"
                raise ConfigError(
                    f"{full}: {value!r} cannot be used; it must be a section with settings"
                    f" of its own, such as {full}.{dataclasses.fields(kind)[0].name}"
                )
            value = _build(kind, value)
        arguments[name] = value
    return section(**arguments)


def setting_names() -> list[str]:
    """Every setting in dotted form.

    Example:
      >>> "schedule.client_period" in setting_names()
      True
    """

    def names_of(section: Any, prefix: str) -> Iterator[str]:
        for field in dataclasses.fields(section):
            if dataclasses.is_dataclass(field.type):
                yield from names_of(field.type, f"{prefix}{field.name}.")
            else:
                yield prefix + field.name

    return list(names_of(ExperimentConfig, ""))


def value_of(settings: Mapping[str, Any], name: str) -> Any:
    """A setting by its dotted name, of settings as ``to_dict`` gives them.

    Example:
      >>> value_of(to_dict(ExperimentConfig()), "algorithm.up.name")
      'none'
    """
    value: Any = settings
    for part in name.split("."):
        value = value[part]
    return value


def _unknown(name: str) -> ConfigError:
    """The error for an unknown setting; a right name in the wrong place is found too."""
    names = setting_names()
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    if not near:
        by_last = {known.rpartition(".")[2]: known for known in reversed(names)}
        last = name.rpartition(".")[2]
        near = [by_last[each] for each in difflib.get_close_matches(last, by_last, 1, 0.75)]
    hint = f" Did you mean {near[0]}?" if near else ""
    if not near:
        section = name.rpartition(".")[0]
        known = [each for each in names if each.rpartition(".")[0] == section] or names
        hint = f" Known: {', '.join(known)}"
    return ConfigError(f"{name}: there is no such setting.{hint}")


def replace(config: ExperimentConfig, changes: Mapping[str, Any]) -> ExperimentConfig:
    """The config with some settings changed, named in dotted form.

    Args:
      config: the config, which stays as it is.
      changes: new value by dotted name. All are made before anything is checked.

    Returns:
      The changed, checked config.

    Raises:
      ConfigError: as ``from_dict``.

    Example:
      >>> replace(ExperimentConfig(), {"algorithm.num_clusters": 32}).algorithm.num_clusters
      32
    """
    settings = to_dict(config)
    for name, value in changes.items():
        *sections, last = name.split(".")
        place: Any = settings
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise _unknown(name)
        place[last] = plain(value)
    return from_dict(settings)


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

    class Dumper(yaml.SafeDumper):
        pass

    # Lists on one line, sections over several.
    Dumper.add_representer(
        list, lambda dumper, each: dumper.represent_sequence("tag:yaml.org,2002:seq", each, True)
    )
    return yaml.dump(to_dict(config), Dumper=Dumper, sort_keys=False, allow_unicode=True)


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
    return _parse(source, "YAML text")[0]


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
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text file in UTF-8") from error
    return _parse(text, os.fspath(path), beside)


def _parse(
    text: str, where: str, beside: Sequence[str] = ()
) -> tuple[ExperimentConfig, dict[str, Any]]:
    import yaml

    from fedcode_jax.config.yaml_loader import Loader

    try:
        settings = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if settings is None:
        raise ConfigError(f"{where}: is empty; it must hold settings, such as 'rounds: 60'")
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{where}: holds a {type(settings).__name__}; it must hold settings by name,"
            " such as 'rounds: 60'"
        )
    others = {name: settings.pop(name) for name in beside if name in settings}
    try:
        return from_dict(settings), others
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
