"""The settings that a file of a finished run records, read without what it names.

A report needs neither the data set of a run nor the module of a part of one's own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fedcode_jax.config.choice import Choice
from fedcode_jax.config.earlier import with_names, without_effect
from fedcode_jax.config.files import flattened, plain
from fedcode_jax.config.schema import ExperimentConfig
from fedcode_jax.config.section import Section, default_of, over_default, settings_of
from fedcode_jax.limits import refuse
from fedcode_jax.names import is_given, is_own


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Settings in dotted form.

    Attributes:
      values: of each, its value; a setting that the choice does not have is not there.
      defaults: the default of each that has one.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any]


def recorded(settings: Mapping[str, Any]) -> Recorded:
    """The settings of a config as it is written; what is left out has its default.

    Args:
      settings: nested, as a YAML file has them.

    Returns:
      All of them by dotted name, unchecked.

    Raises:
      ConfigError: one that the choice does not have, or a section that is none.

    Example:
      >>> mine = recorded({"algorithm": {"name": "my_algorithms:mine", "mu": 0.1}})
      >>> mine.values["algorithm.mu"], mine.values["schedule.client_period"]
      (0.1, 2)
    """
    values: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    _gather(ExperimentConfig, with_names(settings), "", values, defaults)
    return Recorded(values, defaults)


def _gather(
    kind: type[Section],
    settings: Mapping[str, Any],
    prefix: str,
    values: dict[str, Any],
    defaults: dict[str, Any],
) -> None:
    if issubclass(kind, Choice):
        name = str(settings.get("name", kind.default))
        kind = kind.unimported(name)
        if not (is_own(name) or is_given(name)):
            settings = without_effect(prefix, settings, kind.may_be_none())
        settings = {"name": name, **settings}
    for field in settings_of(kind):
        full = prefix + field.name
        if field.name in kind._sections:
            given = settings.get(field.name) or {}
            if not isinstance(given, Mapping):
                refuse(full, given, "a section with settings of its own")
            below = over_default(default_of(field), given)
            _gather(kind._sections[field.name], below, f"{full}.", values, defaults)
            continue
        default = default_of(field)
        defaults[full] = plain(default)
        value = settings.get(field.name, default)
        values[full] = plain(value)
    for name in settings.keys() - kind._checks.keys():
        if not (issubclass(kind, Choice) and not kind.names):  # one's own may have any
            raise kind.unknown(str(name), settings[name], settings.get("name"))
        value = {prefix + name: plain(settings[name])}
        is_section = isinstance(settings[name], Mapping) and "name" in settings[name]
        values |= flattened(value) if is_section else value
