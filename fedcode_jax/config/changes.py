"""Configs changed by the dotted names of settings."""

from collections.abc import Mapping
from typing import Any

from fedcode_jax.config.choice import Choice
from fedcode_jax.config.files import from_dict, plain, to_dict
from fedcode_jax.config.known import unknown_setting
from fedcode_jax.config.schema import ExperimentConfig
from fedcode_jax.config.section import Section, settings_of


def replace(config: ExperimentConfig, changes: Mapping[str, Any]) -> ExperimentConfig:
    """The config with some settings changed, named in dotted form.

    Where the name of a choice changes (``algorithm.name``), what was set of the old one and the new
    one has too, stays; all else of it has the new one's defaults.

    Args:
      config: the config, which stays as it is.
      changes: new value by dotted name, of a whole section a mapping or the section. All are made
        before anything is checked.

    Returns:
      The changed, checked config.

    Raises:
      ConfigError: as ``from_dict``.

    Example:
      >>> replace(ExperimentConfig(), {"algorithm.num_clusters": 32}).algorithm.num_clusters
      32
      >>> replace(ExperimentConfig(), {"algorithm.name": "fedavg"}).algorithm.up.name
      'none'
    """
    return from_dict(changed(to_dict(config), changes))


def changed(settings: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, as ``to_dict`` gives them, with some changed; nothing is checked yet."""

    def order(name: str) -> tuple[bool, int]:  # sections, then names of choices, then the rest
        is_name = name.endswith(".name")
        return not is_name and "." in name, name.count(".")

    for name in sorted(changes, key=order):
        *sections, last = name.split(".")
        place: Any = settings
        kind: type[Section] = ExperimentConfig
        value = plain(changes[name])
        for section in sections:
            kind = kind.kind_of(place)
            if not isinstance(place.get(section), dict):
                if not kind.section:
                    raise unknown_setting(name)
                raise kind.unknown(section, value, place.get("name"))
            kind, place = kind._sections.get(section, Section), place[section]
        if last == "name" and issubclass(kind, Choice):
            _rename(kind, place, value)
        else:
            place[last] = value
    return settings


def _rename(family: type[Choice], place: dict[str, Any], name: Any) -> None:
    """Makes a section that of another member, with those of its changed settings that it has."""
    new, old = family.member(name), family.member(place.get("name", family.default))
    defaults = {field.name: plain(field.default) for field in settings_of(old)}
    kept = {
        setting: value
        for setting, value in place.items()
        if setting in new._checks and value != defaults.get(setting)
    }
    place.clear()
    sections = {f.name: plain(f.default) for f in settings_of(new) if f.name in new._sections}
    place |= {**sections, **kept, "name": name}
