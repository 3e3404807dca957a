"""The base of the config's dataclasses: every field is checked by its annotation.

``Annotated[int | None, whole(1)]`` is a whole number of at least 1, or None; a ``Literal`` and a
section need no check of their own. A field that has its default is not checked: tests check the
defaults, and so a config of defaults imports no registry and with it no JAX.
"""

import contextlib
import contextvars
import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config.checks import Check
from fedcode_jax.errors import check_name
from fedcode_jax.limits import refuse

_UNCHECKED = contextvars.ContextVar("unchecked", default=False)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Makes configs without checking them, for a parser whose own errors would hide ours."""
    token = _UNCHECKED.set(True)
    try:
        yield
    finally:
        _UNCHECKED.reset(token)


class Section:
    """Checks every field of a frozen dataclass by its annotation."""

    section: ClassVar[str] = ""
    _checks: ClassVar[dict[str, tuple[bool, Check]]]

    def __init_subclass__(cls) -> None:
        cls._checks = _read_checks(cls)

    def __post_init__(self) -> None:
        if _UNCHECKED.get():
            return
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = getattr(self, field.name)
            if type(value) is type(field.default) and value == field.default:
                continue
            optional, check = self._checks[field.name]
            if value is None and optional:
                continue
            # Frozen, but the normal form (a tuple for a list) is what is stored.
            object.__setattr__(self, field.name, check(self.section + field.name, value))
        self.check_together()

    def check_together(self) -> None:
        """Checks what depends on several fields."""


def _read_checks(section: Any) -> dict[str, tuple[bool, Check]]:
    """By field: whether None is allowed, and the check of any other value."""
    found = {}
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
        found[name] = (types.NoneType in choices, check or _check_kind(kind))
    return found


def _check_kind(kind: Any) -> Check:
    """The check of a field whose annotation says it all: a Literal or a section."""

    def check(setting: str, value: Any) -> Any:
        if typing.get_origin(kind) is Literal:
            check_name(setting, value, typing.get_args(kind))
        elif not isinstance(value, kind):
            refuse(setting, value, f"of type {kind.__name__}")
        return value

    return check
