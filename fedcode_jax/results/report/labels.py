"""Settings in few words: their names as users type them, and labels made of them."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from fedcode_jax import config as configs
from fedcode_jax import drawing
from fedcode_jax.errors import ConfigError
from fedcode_jax.names import is_given


def full_name(name: str, further: Collection[str] = (), option: str = "by") -> str:
    """The dotted name of a setting.

    Args:
      name: the same, or its last part if no other setting ends in it that is no deeper in its
        section; dashes may stand for underscores, as on the command line. A section stands for the
        name of what is chosen in it.
      further: settings of parts of one's own.
      option: that has the name, for errors.

    Returns:
      The dotted name.

    Raises:
      ConfigError: there is no such setting, or several.

    Example:
      >>> full_name("client-period"), full_name("up")
      ('schedule.client_period', 'algorithm.up.name')
    """
    names = [*configs.all_setting_names(), *further]
    wanted = name.replace("-", "_")
    if wanted in names:
        return wanted
    sections = [each.removesuffix(".name") for each in names if each.endswith(".name")]
    ending = _ending_in(wanted, names) or [f"{each}.name" for each in _ending_in(wanted, sections)]
    if len(ending) > 1:
        raise ConfigError(f"{option}: {name!r} could be {' or '.join(ending)}; write one of them")
    if not ending:
        known = [*names, *map(short_name, names)]
        near = difflib.get_close_matches(wanted, known, n=1) or ["algorithm.name"]
        raise ConfigError(f"{option}: there is no setting {name!r}; write a name such as {near[0]}")
    return ending[0]


def short_name(name: str) -> str:
    """The last part of a setting's dotted name, if ``full_name`` finds it by that.

    Example:
      >>> short_name("schedule.client_period"), short_name("model.name")
      ('client_period', 'model.name')
    """
    last = name.rpartition(".")[2]
    return last if _ending_in(last, configs.all_setting_names()) == [name] else name


def _ending_in(last: str, names: Collection[str]) -> list[str]:
    """The settings that end in a name, the least nested ones."""
    ending = list(dict.fromkeys(name for name in names if name.rpartition(".")[2] == last))
    least = min((name.count(".") for name in ending), default=0)
    return [name for name in ending if name.count(".") == least]


def label(settings: Mapping[str, Any], otherwise: str = "") -> str:
    """A group's label: names such as the algorithm's as they are, then settings with values.

    Args:
      settings: value by dotted name.
      otherwise: the label if there are no settings.

    Returns:
      The label, in one line.

    Example:
      >>> label({"schedule.client_period": 2, "algorithm.name": "fedavg"})
      'fedavg client_period=2'
      >>> label({"algorithm.up.name": "topk", "model.name": "given Tiny 1f3a9c0e"})
      'up=topk model=Tiny 1f3a9c0e'
    """
    if not settings:
        return otherwise
    first = [shown(value) for key, value in settings.items() if _is_plain_name(key, value)]
    rest = [
        f"{_said(key)}={shown(value)}"
        for key, value in settings.items()
        if not _is_plain_name(key, value)
    ]
    return " ".join(first + rest)


def _is_plain_name(key: str, value: Any) -> bool:
    """Whether a value says what it is the name of: that of an algorithm does, of a part not."""
    if not isinstance(value, str) or (is_given(value) and key != "algorithm.name"):
        return False
    return key.endswith(".name") and key.count(".") == 1


def _said(key: str) -> str:
    """A setting's name in a label: of what is chosen in a section, that of the section."""
    return (
        key.removesuffix(".name").rpartition(".")[2] if key.endswith(".name") else short_name(key)
    )


def shown(value: Any) -> str:
    """A setting's value in few characters, in one line.

    Example:
      >>> [shown(value) for value in (0.001, None, [8, 8, 3], {"momentum": 0.9})]
      ['0.001', 'none', '8,8,3', 'momentum:0.9']
    """
    if value is None:
        return "none"
    if isinstance(value, list):
        return ",".join(map(shown, value)) or "none"
    if isinstance(value, dict):
        return ",".join(f"{key}:{shown(each)}" for key, each in value.items()) or "none"
    text = str(value)
    return drawing.flat(text.removeprefix("given ") if is_given(text) else text)
