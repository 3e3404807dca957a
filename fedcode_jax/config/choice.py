"""Sections that are one of several: an algorithm, a model; each with settings of its own.

A family, such as ``AlgorithmConfig``, knows its members by their names. A member is a dataclass of
the settings that its part has, and builds the part. Names with a colon, ``module:factory``, are
members as well, made from the signature of the factory; so is a part that was given in Python.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from fedcode_jax.config import checks
from fedcode_jax.config.earlier import without_effect
from fedcode_jax.config.section import Section, settings_of
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.names import is_given, is_own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice(Section):
    """A part of an experiment: what it is called, and the settings that it has.

    A subclass that names a ``default`` is a family; one below it that has a name is a member.
    """

    default: ClassVar[str] = ""
    """Of a family: the member that it is where no name is given."""
    room: ClassVar[str] = ""
    """Of a family: where the factories are, ``module:registry``."""
    inputs: ClassVar[frozenset[str]] = frozenset()
    """Of a family: arguments that factories are given; they are no settings."""
    beside: ClassVar[frozenset[str]] = frozenset()
    """Settings that are not for the factory."""
    members: ClassVar[dict[str, Any]] = {}
    """Of a family: by name."""
    product: ClassVar[str] = ""
    """Of a family: what its factories give, ``module:class``; empty where the room looks at it."""
    others: ClassVar[tuple[Any, ...]] = ()
    """Of a family: members that are not found by a name of their own."""
    names: ClassVar[tuple[str, ...]] = ()
    """Of a member: what it is called, if that is more than one name."""

    name: Annotated[str, checks.text] = ""
    """Which one."""

    def __init_subclass__(cls, **others: Any) -> None:
        super().__init_subclass__(**others)
        if "default" in cls.__dict__:
            cls.members = {}
        name = cls.__dict__.get("name")
        if isinstance(name, str) and name and "names" not in cls.__dict__:
            cls.names = (name,)
        if isinstance(name, str) and name and not is_own(name):
            cls.members.update(dict.fromkeys(cls.names, cls))

    def __post_init__(self) -> None:
        if not self.name or "default" in type(self).__dict__:
            known = ", ".join(sorted(self.members))
            raise TypeError(f"{type(self).__name__} is one of several; make {known} of it")
        super().__post_init__()
        if self.names and self.name not in self.names and self.name:
            check_name(f"{self.section}name", self.name, self.names)

    @classmethod
    def member(cls, name: Any) -> type["Choice"]:
        """The member of a family that has a name.

        Raises:
          ConfigError: there is none.
        """
        name = checks.text(f"{cls.section}name", name)
        if is_own(name) or is_given(name):
            from fedcode_jax.config import own

            if is_own(name):
                return own.own_member(cls, name)
            return own.given_member(cls)  # type: ignore[arg-type]
        return cls.members[name] if name in cls.members else cls.other_member(name)

    @classmethod
    def unimported(cls, name: str) -> type["Choice"]:
        """As ``member``, without an import: of one's own parts only what all of them have."""
        if is_own(name) or is_given(name):
            return cls.basis()
        try:
            return cls.member(name)
        except ConfigError:
            return cls.basis()

    @classmethod
    def other_member(cls, name: str) -> type["Choice"]:
        """The member of a name that is not in the registry."""
        try:
            check_name(f"{cls.section}name", name, cls.members)
        except ConfigError as error:
            raise ConfigError(f"{error}; or module:factory, one of your own") from None
        raise AssertionError(name)

    @classmethod
    def basis(cls) -> type["Choice"]:
        """What the members that are made from a factory's signature are derived from."""
        return cls

    @classmethod
    def kind_of(cls, settings: Mapping[str, Any]) -> type["Section"]:
        """The member that these settings name."""
        return cls.member(settings.get("name", cls.default))

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Any:
        """As of ``Section``; also what files of earlier versions hold without effect."""
        kind = cls.member(settings.get("name", cls.default))
        if kind.names or kind in cls.others:  # others are of one's own, and new
            settings = without_effect(cls.section, settings, kind.may_be_none())
        return super().read(settings)

    @classmethod
    def may_be_none(cls) -> dict[str, bool]:
        """By setting, whether None is a value of it."""
        return {name: optional for name, (optional, _) in cls._checks.items()}

    @classmethod
    def unknown(cls, name: str, value: Any, called: Any = None) -> ConfigError:
        """The error for a setting that this choice does not have, others perhaps."""
        known = [field.name for field in settings_of(cls) if field.name != "name"]
        named = called or (cls.names[0] if cls.names else cls.default)
        has = f"has {', '.join(known)}" if known else "has no settings"
        if any(name in other._checks for other in [*cls.members.values(), *cls.others]) or is_own(
            named
        ):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            hint = f". Did you mean {cls.section}{near[0]}?" if near else ""
            return ConfigError(
                f"{cls.section}{name}: {value!r} has no use with {cls.section}name {named}, "
                f"which {has}{hint}"
            )
        return super().unknown(name, value, called)

    def factory(self) -> Callable[..., Any]:
        """What builds the part, from the registry of its room, which is imported now."""
        module, _, registry = self.room.partition(":")
        return getattr(importlib.import_module(module), registry)[self.name]

    def build(self, **inputs: Any) -> Any:
        """Builds the part.

        Args:
          **inputs: of the family's ``inputs``, or in place of a setting; the factory is given those
            that it takes.

        Returns:
          What the factory gives.

        Raises:
          ConfigError: as of the factory.
        """
        factory = self.factory()
        built = factory(**{**self.arguments(), **taken(factory, inputs)})
        module, _, product = self.product.partition(":")
        if product and not isinstance(built, getattr(importlib.import_module(module), product)):
            raise ConfigError(
                f"{self.section}name: {self.name} gives {type(built).__name__}; it must give a "
                f"{module}.{product}"
            )
        return built

    def arguments(self) -> dict[str, Any]:
        """The settings that the factory is called with."""
        return {
            field.name: getattr(self, field.name)
            for field in settings_of(type(self))
            if field.name != "name" and field.name not in self.beside
        }

    @property
    def is_default(self) -> bool:
        """Whether no setting was changed."""
        return all(getattr(self, field.name) == field.default for field in settings_of(type(self)))


@functools.lru_cache(maxsize=256)
def parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a factory by name."""
    known = inspect.signature(factory).parameters
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if isinstance(factory, type) and all(p.kind in catch_all for p in known.values()):
        # Of an nnx module: its metaclass has a signature of its own.
        own = list(inspect.signature(factory.__init__).parameters.items())  # type: ignore[misc]
        known = types.MappingProxyType(dict(own[1:]))
    return known


def taken(factory: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some inputs that a factory takes by name."""
    known = parameters(factory)
    return {name: value for name, value in inputs.items() if name in known}
