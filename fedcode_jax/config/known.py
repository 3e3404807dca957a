"""Which settings there are: of a config, and of all choices."""

import difflib
import functools
from collections.abc import Iterator

from fedcode_jax.config.choice import Choice
from fedcode_jax.config.section import Section, settings_of
from fedcode_jax.errors import ConfigError


def setting_names(config: Section) -> list[str]:
    """Every setting of a config in dotted form, as its choices have them.

    Example:
      >>> from fedcode_jax.config import ExperimentConfig
      >>> [n for n in setting_names(ExperimentConfig()) if n.startswith("partition")]
      ['partition.name', 'partition.seed', 'partition.num_clients', 'partition.min_size']
    """
    names: list[str] = []
    for field in settings_of(config):
        value = getattr(config, field.name)
        if isinstance(value, Section):
            names += [f"{field.name}.{name}" for name in setting_names(value)]
        else:
            names.append(field.name)
    return names


@functools.cache
def all_setting_names() -> tuple[str, ...]:
    """The settings of all choices there are, those of one's own apart.

    Example:
      >>> "schedule.threshold" in all_setting_names()
      True
    """
    from fedcode_jax.config.schema import ExperimentConfig

    def of(kind: type[Section]) -> Iterator[str]:
        members = [*kind.members.values(), *kind.others] if issubclass(kind, Choice) else []
        for member in dict.fromkeys([kind, *members]):
            for field in settings_of(member):
                if field.name in member._sections:
                    below = of(member._sections[field.name])
                    yield from (f"{field.name}.{name}" for name in below)
                else:
                    yield field.name

    return tuple(dict.fromkeys(of(ExperimentConfig)))


def unknown_setting(name: str, beside: list[str] | None = None) -> ConfigError:
    """The error for a setting that does not exist; a right name in the wrong place is found too.

    Args:
      name: in dotted form.
      beside: other settings that its section has, which are looked through first.

    Returns:
      The error, to be raised.
    """
    names = [*(beside or []), *all_setting_names()]
    section, _, last = name.rpartition(".")
    if beside is None and name in names and section:
        return ConfigError(
            f"{name}: in a file it stands in its section, {section}: {{{last}: ...}}"
        )
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    if not near:
        by_last = {known.rpartition(".")[2]: known for known in reversed(names)}
        near = [by_last[each] for each in difflib.get_close_matches(last, by_last, 1, 0.75)]
    hint = f" Did you mean {near[0]}?" if near else ""
    if not near:
        known = beside or [each for each in names if each.rpartition(".")[0] == section]
        known = known or [each.partition(".")[0] for each in names]
        hint = f" Known: {', '.join(dict.fromkeys(known))}"
    return ConfigError(f"{name}: there is no such setting.{hint}")
