"""The settings as a page, made from their dataclasses.

``python -m fedcode_jax.config.reference`` prints SETTINGS.md.
"""

import ast
import functools
import inspect
import itertools
import sys
import textwrap
import typing
from collections.abc import Collection, Iterator
from typing import Any

from fedcode_jax.config.choice import Choice
from fedcode_jax.config.files import plain
from fedcode_jax.config.schema import ExperimentConfig
from fedcode_jax.config.section import Section, default_of, settings_of

_HEAD = """# Settings

Each is an option of the command (`--algorithm.num-clusters 32`), a line of YAML
(`algorithm: {num_clusters: 32}`) and a field in Python (`config.algorithm.num_clusters`). Where a
section is one of several choices, `name` says which; a setting that the choice does not have is
refused. `module:factory` names a part of your own, whose keyword arguments are its settings.

`python -m fedcode_jax.config.reference > fedcode_jax/config/SETTINGS.md` makes this page.
"""

_CHOICES = "Algorithms from `fedpaq` on are `fedavg` with other defaults, and have its settings.\n"


@functools.cache
def documented(section: type[Section]) -> dict[str, str]:
    """What is written below each field of a section, on one line.

    Example:
      >>> from fedcode_jax.config.algorithms import FedCode
      >>> documented(FedCode)["num_clusters"]
      'Centers K of each codebook.'
    """
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(kind))
        except (OSError, TypeError):  # made by a program
            continue
        (tree,) = ast.parse(source).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            is_field = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if is_field and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                name = typing.cast(ast.Name, typing.cast(ast.AnnAssign, field).target).id
                found[name] = " ".join(str(text.value.value).split())
    return found


def page() -> str:
    """The reference page, as Markdown."""
    lines = [_HEAD, "## What there is to choose", "", _CHOICES, _choices()]
    lines += ["## Of the experiment", "", *_table(ExperimentConfig, "", ())]
    for field in settings_of(ExperimentConfig):
        kind = ExperimentConfig._sections.get(field.name)
        if kind is not None:
            lines += ["", f"## {field.name}", "", *_section(kind, field.default, set())]
    return "\n".join(lines) + "\n"


def _choices() -> str:
    """The choices and the settings that each has, as a Markdown table."""
    lines = ["| section | choices, with their settings |", "| --- | --- |"]
    for kind in [*ExperimentConfig._sections.values()]:
        for family in dict.fromkeys(_families(kind)):
            shown = []
            for member in dict.fromkeys([*family.members.values(), *family.others]):
                if _whose(family, member) is not None:
                    shown.append(f"`{member.names[0]}`")
                    continue
                names = [f.name for f in settings_of(member) if f.name != "name"]
                names = [name for name in names if name not in family._checks]
                called = ", ".join(f"`{name}`" for name in member.names) or "any other"
                shown.append(f"{called} ({', '.join(names)})" if names else called)
            lines.append(f"| `{family.section.rstrip('.')}` | {' · '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _families(kind: type[Section]) -> Iterator[type[Choice]]:
    if issubclass(kind, Choice):
        yield kind
        for member in dict.fromkeys(kind.members.values()):
            for below in member._sections.values():
                yield from _families(below)


def _section(kind: type[Section], default: Any, told: set[type[Section]]) -> list[str]:
    """A section of the page; ``told`` are those that stand on it and need not be told again."""
    told.add(kind)
    intro = [(inspect.getdoc(kind) or "").splitlines()[0], ""]
    if not issubclass(kind, Choice):
        return intro + _table(kind, kind.section, ())
    common = [field.name for field in settings_of(kind)]
    lines = intro + _table(kind, kind.section, (), default=kind.default)
    for member in dict.fromkeys([*kind.members.values(), *kind.others]):
        called = ", ".join(f"`{name}`" for name in member.names) or "any other name"
        lines += ["", f"**{called}**: {(inspect.getdoc(member) or '').splitlines()[0]}"]
        whose = _whose(kind, member)
        if whose is not None:
            lines[-1] += f" The settings of `{whose.names[0]}`, with {_differences(member, whose)}."
            continue
        own = _table(member, kind.section, common)
        lines += ["", *own] if len(own) > 2 else []
        again = [f"`{name}`" for name, below in member._sections.items() if below in told]
        lines += ["", f"And {', '.join(again)}, as above."] if again else []
        for name, below in member._sections.items():
            if below not in told:
                lines += ["", f"### {kind.section}{name}", "", *_section(below, None, told)]
    return lines


def _whose(family: type[Choice], member: type[Choice]) -> type[Choice] | None:
    """The member that another one is with other defaults, if it is that."""
    others = (each for each in family.members.values() if each is not member)
    return next((each for each in others if issubclass(member, each)), None)


def _differences(member: type[Section], other: type[Section]) -> str:
    """The defaults in which two sections of the same settings differ."""
    found = []
    for one, two in zip(settings_of(member), settings_of(other), strict=True):
        value, before = default_of(one), default_of(two)
        if one.name == "name" or value == before:
            continue
        if isinstance(value, Section):
            inner = {f.name: getattr(value, f.name) for f in settings_of(value)}
            own = {f.name: default_of(f) for f in settings_of(value)}
            changed = [f"{n} {v}" for n, v in inner.items() if n != "name" and v != own[n]]
            value = " ".join([str(inner["name"]), *changed])
        found.append(f"{one.name} {value}")
    return ", ".join(found)


def _table(
    kind: type[Section], prefix: str, without: Collection[str], default: str = ""
) -> list[str]:
    lines = ["| setting | default | |", "| --- | --- | --- |"]
    for field in settings_of(kind):
        if field.name in without or field.name in kind._sections:
            continue
        value = default if field.name == "name" and default else plain(default_of(field))
        shown = {None: "none", "": "required"}.get(value, value) if _hashable(value) else value
        texts = documented(kind)  # type: ignore[arg-type]
        text = texts.get(field.name, "").replace("|", "\\|")
        lines.append(f"| `{prefix}{field.name}` | `{shown}` | {text} |")
    return lines


def _hashable(value: Any) -> bool:
    return not isinstance(value, list | dict)


if __name__ == "__main__":
    sys.stdout.write(page())
