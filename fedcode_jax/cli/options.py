"""The options of a command: a config's fields, over a YAML file, over the defaults."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from fedcode_jax.config import ExperimentConfig, from_dict, to_dict, unchecked
from fedcode_jax.config import files as config_files
from fedcode_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that every command about an experiment takes."""

    experiment: Annotated[ExperimentConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=ExperimentConfig
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

    Args:
      kind: the command's options; its docstrings are the help texts.
      command: the command as typed, e.g. ``fedcode run``.
      arguments: what follows it.
      load: reads the file that ``--config`` names.

    Returns:
      The options, with a checked config.

    Raises:
      ConfigError: a setting, in the file or on the command line, that cannot be used.
      SystemExit: with 2 after an unknown option or a value of the wrong type, which are
        reported; with 0 after ``--help``.

    Example:
      >>> arguments = ["--rounds", "3", "--algorithm.num-clusters", "32"]
      >>> parse(Options, "fedcode run", arguments).experiment.algorithm.num_clusters
      32
    """
    # The file is read first, since the help shows its values as the defaults.
    finder = argparse.ArgumentParser(prog=command, add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    file = finder.parse_known_args(arguments)[0].config
    base = load(file) if file is not None else ExperimentConfig()
    if file is not None:
        _check_named(file)
    # Unchecked, since tyro would report our errors in its own words, without the setting's name.
    with unchecked():
        options = tyro.cli(
            kind,
            prog=command,
            args=arguments,
            default=kind(experiment=base),
            config=(tyro.conf.FlagCreatePairsOff,),
            registry=_REGISTRY,
        )
    checked = from_dict(to_dict(options.experiment))
    return dataclasses.replace(options, experiment=checked)


def _check_named(file: str) -> None:
    """Refuses the config of a run whose algorithm it does not name."""
    from fedcode_jax.results.folder import noted_versions

    own = noted_versions(Path(file).read_text(encoding="utf-8")).get("algorithm")
    if own is not None:
        raise ConfigError(
            f"config: {file} is of a run with {own}, which a command cannot run; call "
            "fedcode_jax.run(config, algorithm=...) with it, or take the line `algorithm:` out of "
            "its versions"
        )


_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _named_numbers(
    kind: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[dict[str, float]] | None:
    """``name=number ...`` for a mapping, whatever names its default holds."""
    if kind.type != dict[str, float]:
        return None

    def read(words: list[str]) -> dict[str, float]:
        pairs = (word.partition("=") for word in words)
        return {name: float(number) for name, _, number in pairs}

    def is_mapping(value: Any) -> bool:
        return isinstance(value, dict)

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME=FLOAT ...]",
        instance_from_str=read,
        is_instance=is_mapping,
        str_from_instance=lambda value: [f"{name}={number}" for name, number in value.items()],
    )
