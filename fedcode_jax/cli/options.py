"""The options of a command: a config's settings, over a YAML file, over the defaults."""

import dataclasses
import difflib
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from fedcode_jax.cli import words
from fedcode_jax.config import ExperimentConfig, from_dict, replace, setting_names, to_dict
from fedcode_jax.config import files as config_files
from fedcode_jax.config.changes import changed
from fedcode_jax.config.known import unknown_setting
from fedcode_jax.config.section import Section, unchecked
from fedcode_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that every command about an experiment takes."""

    experiment: Annotated[ExperimentConfig, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = (
        dataclasses.field(default_factory=ExperimentConfig)
    )
    config: Path | None = None
    """YAML file with settings; the options given beside it override it."""
    debug: bool = False
    """Show the traceback of an error."""


AnyOptions = TypeVar("AnyOptions", bound=Options)


def parse(
    kind: type[AnyOptions],
    command: str,
    arguments: Sequence[str],
    *,
    load: Callable[[str], ExperimentConfig] = config_files.load,
) -> AnyOptions:
    """Reads the options of a command.

    The settings of a choice are options as soon as its name is given: ``--schedule.name drift``
    makes ``--schedule.threshold`` one.

    Args:
      kind: the command's options; its docstrings are the help texts.
      command: the command as typed, e.g. ``fedcode run``.
      arguments: what follows it.
      load: reads the file that ``--config`` names.

    Returns:
      The options, with a checked config.

    Raises:
      ConfigError: an option that does not exist, or that the choice does not have, or a value that
        cannot be used.
      SystemExit: with 0 after ``--help``, which shows the options of the choices that are made.

    Example:
      >>> arguments = ["--rounds", "3", "--algorithm.num-clusters", "32"]
      >>> parse(Options, "fedcode run", arguments).experiment.algorithm.num_clusters
      32
    """
    if any(word.startswith("--tyro-") for word in arguments):  # completion for shells
        return _by_tyro(kind, command, arguments, kind())
    own = {f.name: h for f, h in zip(dataclasses.fields(kind), _hints(kind), strict=True)}
    del own["experiment"]
    options: dict[str, Any] = {}
    settings: dict[str, list[str]] = {}
    for name, given in words.options_of(arguments):
        if name in own:
            value = words.checked(name, own[name], words.value_of(name, own[name], given))
            several = isinstance(value, tuple)
            options[name] = options.get(name, ()) + value if several else value
        elif name != "help":
            settings[name] = given
    if "out" in settings and "resume" in options:
        raise ConfigError(
            f"out: cannot be used with --resume, which goes on in {str(options['resume'])!r}; copy "
            "the folder, and resume the copy"
        )
    base = _base(options, load)
    if any(name == "help" for name, _ in words.options_of(arguments)):
        with unchecked():  # what a choice needs may not be given yet
            shown = kind(experiment=_changed(base, settings, [*own, "help"]), **options)
        return _by_tyro(kind, command, ["--help"], shown)
    return kind(experiment=_changed(base, settings, [*own, "help"]), **options)


def _base(options: Mapping[str, Any], load: Callable[[str], ExperimentConfig]) -> ExperimentConfig:
    """What the settings that are given change: of a file, of a run that goes on, or defaults."""
    file, folder = options.get("config"), options.get("resume")
    if folder is None:
        return load(str(file)) if file is not None else ExperimentConfig()
    if file is not None:
        raise ConfigError(
            f"config: {str(file)!r} cannot be used with --resume, which takes the config of the "
            "run; leave it out"
        )
    own = folder / config_files.OF_RUN
    if not own.is_file():
        raise ConfigError(
            f"resume: {str(folder)!r} is not the folder of a run (no {own.name}); give its --out"
        )
    return replace(load(str(own)), {"out": str(folder)})


def _hints(kind: type) -> list[Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [hints[field.name] for field in dataclasses.fields(kind)]


def _changed(
    base: ExperimentConfig, settings: Mapping[str, list[str]], others: Sequence[str]
) -> ExperimentConfig:
    """A config with the settings that options give, read by the kinds of the choices made."""
    names = {name: words.value_of(name, str, g) for name, g in settings.items() if _is_name(name)}
    with unchecked():  # it may need the settings that are not read yet
        chosen = from_dict(changed(to_dict(base), names))
    hints = dict(_settings_of(chosen))
    changes: dict[str, Any] = dict(names)
    for name, given in settings.items():
        if name in names:
            continue
        if name not in hints:
            raise _unknown(chosen, name, " ".join(given), others)
        changes[name] = words.value_of(name, hints[name], given)
    return replace(base, changes)


def _is_name(name: str) -> bool:
    return name.endswith(".name")


def _settings_of(section: Section, prefix: str = "") -> list[tuple[str, Any]]:
    """The settings of a config with their annotations, by dotted name."""
    hints = typing.get_type_hints(type(section), include_extras=True)
    found: list[tuple[str, Any]] = []
    for field in dataclasses.fields(typing.cast(Any, section)):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            found += _settings_of(value, f"{prefix}{field.name}.")
        else:
            found.append((prefix + field.name, hints[field.name]))
    return found


def _unknown(chosen: ExperimentConfig, name: str, value: str, others: Sequence[str]) -> ConfigError:
    """The error for an option that there is not, or not with the choices that are made."""
    *sections, last = name.split(".")
    place: Any = chosen
    for section in sections:
        place = getattr(place, section, None)
    if sections and isinstance(place, Section):
        return type(place).unknown(last, value, getattr(place, "name", None))
    near = difflib.get_close_matches(name, [*setting_names(chosen), *others], n=1, cutoff=0.75)
    if near:
        shown = near[0].replace("_", "-")
        return ConfigError(f"{name}: there is no such option. Did you mean --{shown}?")
    return unknown_setting(name)


def _by_tyro(
    kind: type[AnyOptions], command: str, arguments: Sequence[str], default: AnyOptions
) -> AnyOptions:
    return tyro.cli(
        kind,
        prog=command,
        args=arguments,
        default=default,
        config=(tyro.conf.FlagCreatePairsOff,),
        registry=_REGISTRY,
    )


_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _named_values(
    kind: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[dict[str, Any]] | None:
    """``name=value ...`` for a mapping, whatever names its default holds."""
    if typing.get_origin(kind.type) is not dict:
        return None

    def is_mapping(value: Any) -> bool:
        return isinstance(value, dict)

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME=VALUE ...]",
        instance_from_str=lambda pairs: words.value_of("", dict, pairs),
        is_instance=is_mapping,
        str_from_instance=lambda value: [f"{name}={each}" for name, each in value.items()],
    )
