"""The base of the config's dataclasses: every field is checked by its annotation.

``Annotated[int | None, whole(1)]`` is a whole number of at least 1, or None; a ``Literal``, a bool
and a section need no check of their own. A field that has its default is not checked: tests check
the defaults, and so a config of defaults imports no registry and with it no JAX.
"""

import contextlib
import contextvars
import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.checks import Check
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.limits import refuse

_UNCHECKED = contextvars.ContextVar("unchecked", default=False)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Makes configs without checking them, where only the kinds of their settings are asked for."""
    token = _UNCHECKED.set(True)
    try:
        yield
    finally:
        _UNCHECKED.reset(token)


class Section:
    """Checks every field of a frozen dataclass by its annotation."""

    section: ClassVar[str] = ""
    _checks: ClassVar[dict[str, tuple[bool, Check]]]
    _sections: ClassVar[dict[str, type["Section"]]]

    def __init_subclass__(cls, **others: Any) -> None:
        super().__init_subclass__(**others)
        cls._checks, cls._sections = _read_annotations(cls)

    def __post_init__(self) -> None:
        for field in settings_of(type(self)):
            value = checks.native(getattr(self, field.name))
            if _UNCHECKED.get():
                object.__setattr__(self, field.name, checks.frozen(value))
                continue
            if type(value) is type(field.default) and value == field.default:
                continue
            optional, check = self._checks[field.name]
            if value is None and optional:
                continue
            # Frozen, but the normal form (a tuple for a list) is what is stored.
            object.__setattr__(self, field.name, check(self.section + field.name, value))
        if not _UNCHECKED.get():
            self.check_together()

    def check_together(self) -> None:
        """Checks what depends on several fields."""

    @classmethod
    def kind_of(cls, settings: Mapping[str, Any]) -> type["Section"]:
        """The dataclass that has these settings: this one, or one of those it stands for."""
        return cls

    @classmethod
    def unknown(cls, name: str, value: Any, called: Any = None) -> ConfigError:
        """The error for a setting that this section, as it is called, does not have."""
        from fedcode_jax.config.known import unknown_setting

        beside = [cls.section + field.name for field in settings_of(cls)] if cls.section else None
        return unknown_setting(f"{cls.section}{name}", beside)

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Any:
        """The section that a mapping describes; what it leaves out has its default.

        Args:
          settings: value by name; of a section in it a mapping, or the section itself. What the
            mapping leaves out is as in the default of that section here.

        Returns:
          The checked section.

        Raises:
          ConfigError: an unknown setting or a value that is not allowed.
        """
        kind = cls.kind_of(settings)
        defaults = {field.name: default_of(field) for field in settings_of(kind)}
        arguments: dict[str, Any] = {}
        for name, value in settings.items():
            if name not in kind._checks:
                raise kind.unknown(str(name), value, settings.get("name"))
            if name in kind._sections:
                if value is None:  # all of its settings are commented out
                    continue
                value = _read_section(kind._sections[name], value, defaults[name])
            arguments[name] = value
        return kind(**arguments)


def settings_of(section: type[Section] | Section) -> tuple[dataclasses.Field, ...]:
    """The fields of a section, in order."""
    return dataclasses.fields(typing.cast(Any, section))


def default_of(field: dataclasses.Field) -> Any:
    """The default of a setting."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _read_section(kind: type[Section], value: Any, default: Any = None) -> Any:
    if isinstance(value, Mapping):
        return kind.read(value if default is None else over_default(default, value))
    if not isinstance(value, kind):
        full = kind.section.rstrip(".")
        first = settings_of(kind)[0].name
        what = f"a section with settings of its own, such as {full}.{first}"
        if not isinstance(value, str | int | float | list | tuple):
            value, what = type(value).__name__, f"{what}; give an object of your own to run itself"
        refuse(full, value, what)
    return value


def over_default(default: Section, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a section over what its default sets, unless they name another choice."""
    values = {field.name: getattr(default, field.name) for field in settings_of(default)}
    if settings.get("name", values.get("name")) != values.get("name"):
        return settings
    own = {
        field.name: values[field.name]
        for field in settings_of(default)
        if field.name == "name" or values[field.name] != default_of(field)
    }
    return {**own, **settings}


def _read_annotations(
    section: Any,
) -> tuple[dict[str, tuple[bool, Check]], dict[str, type[Section]]]:
    """By field: whether None is allowed, and the check of any other value; and the sections."""
    found, sections = {}, {}
    for name, hint in typing.get_type_hints(section, include_extras=True).items():
        if typing.get_origin(hint) is ClassVar:
            continue
        check = None
        if typing.get_origin(hint) is Annotated:
            check = hint.__metadata__[0]
            hint = hint.__origin__
        is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        choices = typing.get_args(hint) if is_union else (hint,)
        kind = next(choice for choice in choices if choice is not types.NoneType)
        if isinstance(kind, type) and issubclass(kind, Section):
            sections[name] = kind
        found[name] = (types.NoneType in choices, check or _check_kind(kind))
    return found, sections


def _check_kind(kind: Any) -> Check:
    """The check of a field whose annotation says it all: a Literal, a bool or a section."""

    def check(setting: str, value: Any) -> Any:
        if typing.get_origin(kind) is Literal:
            check_name(setting, value, typing.get_args(kind))
            return value
        if kind is bool:
            return checks.truth(setting, value)
        return _read_section(kind, value)

    return check
