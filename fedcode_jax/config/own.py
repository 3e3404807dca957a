"""Settings of parts of one's own: made from a factory's signature, or standing for an object."""

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from typing_extensions import Doc

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice, parameters
from fedcode_jax.config.section import settings_of
from fedcode_jax.errors import ConfigError, FedcodeError
from fedcode_jax.limits import refuse
from fedcode_jax.names import absent, imported, one_line

REQUIRED = "(required)"
"""What a setting has whose factory has no default for it."""

_USUAL = {"num_clients": 10}
"""Defaults of settings that a factory may leave without one."""


class Own:
    """Builds a part by a factory of one's own; its errors become those of the setting."""

    made_by: ClassVar[Any]

    def factory(self) -> Callable[..., Any]:
        """The factory."""
        return self.made_by

    def check_together(self) -> None:
        """Checks that what has no default is set."""
        part: Any = self
        for field in settings_of(part):
            if getattr(part, field.name) == REQUIRED:
                raise ConfigError(
                    f"{part.section}{field.name}: is not set, and {part.name} has no default for "
                    f"it; set it, or give it a default there"
                )

    def build(self, **inputs: Any) -> Any:
        """As of ``Choice``."""
        part: Any = self
        try:
            return part._built(**inputs)
        except FedcodeError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{part.section}name: {part.name} raised {one_line(error)}"
            ) from error


def own_member(family: type[Choice], name: str) -> type[Choice]:
    """The settings of a part that ``module:factory`` names.

    Args:
      family: of the part.
      name: of the factory, which is imported.

    Returns:
      A dataclass with a field for each parameter of the factory that has a plain default, or none,
      and is not among the family's inputs; equal names give the same class.

    Raises:
      ConfigError: there is no such factory.
    """
    factory = imported(f"{family.section}name", name)
    if not callable(factory):
        refuse(f"{family.section}name", name, f"a factory; it is {type(factory).__name__}")
    try:
        hash(factory)
    except TypeError:
        refuse(f"{family.section}name", name, "hashable, such as a function")
    return _member(family, name, factory)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=256)
def _member(family: type[Choice], name: str, factory: Callable[..., Any]) -> type[Choice]:
    basis = family.basis()
    body = {
        "__doc__": (inspect.getdoc(factory) or name).splitlines()[0],
        "__module__": __name__,
        "made_by": staticmethod(factory),
        "_built": basis.build,
        "build": Own.build,
        "names": (),
    }
    fields: list[Any] = [("name", str, dataclasses.field(default=name))]
    try:
        known = parameters(factory).values()
    except (TypeError, ValueError) as error:
        refuse(f"{family.section}name", name, f"a factory whose signature can be read ({error})")
    documented = _documented(inspect.getdoc(factory) or "")
    hints = _hints(factory)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in known:
        # A linen module takes a name of its own.
        if parameter.name in {*family.inputs, "name"} or parameter.kind not in kinds:
            continue
        if hasattr(Own, parameter.name) or hasattr(basis, parameter.name):
            refuse(
                f"{family.section}name", name, f"without a parameter {parameter.name!r}; rename it"
            )
        setting = _setting(parameter, hints.get(parameter.name))
        if setting is not None:
            kind, check, default = setting
            hint = Annotated[kind, check, Doc(documented.get(parameter.name, ""))]  # type: ignore[valid-type]
            fields.append((parameter.name, hint, dataclasses.field(default=default)))
    made = dataclasses.make_dataclass(
        name.replace(":", "_").replace(".", "_"),
        fields,
        bases=(Own, basis),
        namespace=body,
        frozen=True,
        kw_only=True,
    )
    return typing.cast(type[Choice], made)


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    function = getattr(function, "func", function)
    try:
        return typing.get_type_hints(function)
    except Exception:  # names that only a type checker sees
        return {}


def _setting(parameter: inspect.Parameter, hint: Any) -> tuple[Any, checks.Check, Any] | None:
    """The kind, check and default of a parameter's setting; None if it is no plain value."""
    default = parameter.default
    if default is parameter.empty:
        default = _USUAL.get(parameter.name, REQUIRED)
    if not checks.is_plain(default):
        return None
    default = checks.frozen(default)
    optional = default is None
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = typing.get_args(hint)
        optional = optional or types.NoneType in members
        plain = [each for each in members if each is not types.NoneType]
        hint = plain[0] if len(plain) == 1 else None
    if typing.get_origin(hint) in (tuple, list) or hint is list:
        hint = tuple
    by_default = {bool: bool, int: float, float: float, str: str, tuple: tuple}
    kind = hint if hint in (bool, int, float, str, tuple) else by_default.get(type(default))
    if default is REQUIRED and hint not in (bool, int, float, str, tuple):
        kind = None
    check = checks.plain(kind)
    shown: Any = Any if kind is None else tuple[Any, ...] if kind is tuple else kind
    return (shown | None if optional else shown), check, default


def _documented(doc: str) -> dict[str, str]:
    """What a docstring says of each argument, as ``name: text`` with further lines indented."""
    found: dict[str, str] = {}
    name, indent = "", 0
    for line in doc.splitlines():
        begins = re.match(r"^(\s+)(\w+)\s*(?:\([^)]*\))?:\s+(.*)$", line)
        if begins and (not name or len(begins[1]) <= indent):
            name, indent = begins[2], len(begins[1])
            found[name] = begins[3].strip()
        elif name and line.strip() and len(line) - len(line.lstrip()) > indent:
            found[name] += " " + line.strip()
        else:
            name = ""
    return found


@functools.cache
def given_member(family: type[Choice]) -> type[Choice]:
    """The settings of a part that was given in Python: none but what is beside the part itself."""

    def build(self: Any, **inputs: Any) -> Any:
        raise absent(f"{family.section}name", self.name)

    body = {
        "__doc__": "A part given in Python.",
        "__module__": __name__,
        "__annotations__": {"name": str},
        "name": "",
        "names": (),
        "build": build,
    }
    made = type(f"Given{family.__name__}", (family,), body)
    return typing.cast(type[Choice], dataclasses.dataclass(frozen=True, kw_only=True)(made))
