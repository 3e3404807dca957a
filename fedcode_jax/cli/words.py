"""Words of a command line: which option they belong to, and the values that they stand for."""

import dataclasses
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.limits import refuse


@dataclasses.dataclass(frozen=True)
class Alone:
    """In the annotation of an option that may be given without a value: what it then is."""

    value: Any


def options_of(arguments: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The options of a command line with the words after each.

    Args:
      arguments: words.

    Returns:
      Of each option its name, without dashes in front and with underscores in it, and its words.

    Raises:
      ConfigError: a word before the first option.

    Example:
      >>> options_of(["--local.batch-size", "8", "--out=runs/x", "--quiet"])
      [('local.batch_size', ['8']), ('out', ['runs/x']), ('quiet', [])]
    """
    found: list[tuple[str, list[str]]] = []
    for word in arguments:
        if word == "-h" or (word.startswith("--") and len(word) > 2):
            name, equals, value = word.lstrip("-").partition("=")
            name = "help" if word == "-h" else name.replace("-", "_")
            found.append((name, [value] if equals else []))
        elif not found:
            raise ConfigError(f"{word!r} is no option; options begin with --, such as --rounds 20")
        else:
            found[-1][1].append(word)
    return found


def check_names(kind: Any, arguments: Sequence[str]) -> None:
    """Checks that a command without settings has all options that it is given.

    Args:
      kind: the dataclass of its options.
      arguments: words; those before the first option are no options.

    Raises:
      ConfigError: there is no such option; the nearest is suggested.
    """
    first = next((i for i, word in enumerate(arguments) if word.startswith("--")), len(arguments))
    names = [field.name for field in dataclasses.fields(kind)]
    for name, _ in options_of(arguments[first:]):
        if name not in (*names, "help") and not name.startswith("tyro"):
            check_name("option", name, names)


def value_of(setting: str, hint: Any, words: Sequence[str]) -> Any:
    """The value of an option, as YAML would have it; what it may be is checked later.

    Args:
      setting: the option's name, for errors.
      hint: the annotation of its field.
      words: that follow it.

    Returns:
      A string where strings are wanted; for a row of values a list, for a mapping (``name=value``)
      a dictionary; else what the one word is in YAML. ``None`` and ``null`` are None.

    Raises:
      ConfigError: another number of words than the field has values.

    Example:
      >>> value_of("local.epochs", int, ["2"]), value_of("data.path", tuple[str, ...], ["a", "b"])
      (2, ['a', 'b'])
    """
    alone = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Alone)]
    if alone and not words:
        return alone[0].value
    kind, optional = _bare(hint)
    origin = typing.get_origin(kind) or kind
    if origin is tuple:
        members = typing.get_args(kind)
        if optional and list(words) in (["None"], ["null"]):
            return None
        kind = members[0] if members else Any
        row = [_one(word, kind) for word in words]
        return row[0] if len(row) == 1 and isinstance(row[0], list) else row
    if origin is dict:
        return dict(_pair(setting, word) for word in words)
    if kind is bool and not words:
        return True
    if len(words) != 1:
        what = "has no value" if not words else f"has {len(words)} values, {' '.join(words)!r}"
        option = setting.replace("_", "-")
        raise ConfigError(f"{setting}: {what}; give one, such as --{option} VALUE")
    if optional and words[0] in ("None", "null"):
        return None
    return _one(words[0], kind)


def checked(setting: str, hint: Any, value: Any) -> Any:
    """The value of an option that is no setting of the config, checked by its annotation."""
    kind, optional = _bare(hint)
    if value is None and optional:
        return None
    if typing.get_origin(kind) is Literal:
        check_name(setting, value, typing.get_args(kind))
        return value
    if typing.get_origin(kind) is tuple:
        return tuple(value)
    if kind is Path:
        return Path(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and not (is_number and isinstance(value, int)):
        refuse(setting, value, "a whole number")
    if kind is float:
        if not is_number:
            refuse(setting, value, "a number")
        return float(value)
    if kind is bool and not isinstance(value, bool):
        refuse(setting, value, "left out, or true or false")
    return value


def _bare(hint: Any) -> tuple[Any, bool]:
    """An annotation without what is around it, and whether it allows None."""
    while typing.get_origin(hint) is Annotated:
        hint = hint.__origin__
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    members = typing.get_args(hint)
    kinds = [each for each in members if each is not types.NoneType]
    return kinds[0], types.NoneType in members


def _one(word: str, kind: Any) -> Any:
    if kind in (str, Path):
        return word
    if typing.get_origin(kind) is Literal:
        return word
    return yaml_value(word)


def _pair(setting: str, word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals:
        raise ConfigError(
            f"{setting}: {word!r} cannot be read; write name=value, such as momentum=0.9"
        )
    return name, yaml_value(value)


def yaml_value(text: str) -> Any:
    """What a word is in YAML, so that the command line and files agree."""
    import yaml

    from fedcode_jax.config.yaml_loader import Loader

    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, ValueError):
        return text
