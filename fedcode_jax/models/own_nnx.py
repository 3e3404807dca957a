"""An nnx module as functions of its variables, which lie in nested dicts."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from fedcode_jax import randomness
from fedcode_jax.errors import ConfigError
from fedcode_jax.models.calling import named, options, told
from fedcode_jax.models.fixing import fix_nnx

Variables = dict[str, Any]

KEY, COUNT = "rng key", "rng count"
"""In place of a collection: the state of a random stream, which is no variable of the model."""


class Place(NamedTuple):
    """Where a variable of an nnx module is, and to which collection it belongs.

    Attributes:
      path: attributes and numbers, as nnx has them.
      collection: ``params``, ``batch_stats``, the name of another type of variable, ``KEY`` or
        ``COUNT``.
      shape: of its value.
    """

    path: tuple[Hashable, ...]
    collection: str
    shape: tuple[int, ...]

    @property
    def drawn(self) -> bool:
        """Whether it belongs to a random stream."""
        return self.collection in (KEY, COUNT)


@dataclasses.dataclass(frozen=True)
class Nnx:
    """An nnx module as functions of its variables; see ``own.adapted``.

    Attributes:
      training: its graph, set to train.
      evaluation: its graph, set to evaluate.
      places: of its variables.
      source: what decides the first values; equal ones give equal values.
      first: key -> the module.
    """

    training: nnx.GraphDef
    evaluation: nnx.GraphDef
    places: tuple[Place, ...]
    source: Hashable
    first: Callable[[Array], nnx.Module] = dataclasses.field(compare=False, repr=False)

    def init(self, key: Array, x: Any = None, *, train: bool = False) -> Variables:
        """The first variables; x is not looked at, since an nnx module knows its shapes."""
        found = {place: leaf for place, leaf in _leaves(self.first(key)) if not place.drawn}
        return _nested(found)

    def apply(
        self,
        variables: Mapping[str, Any],
        x: Array,
        *,
        train: bool = False,
        mask: Array | None = None,
        mutable: Any = False,
        rngs: dict[str, Array] | None = None,
    ) -> Any:
        """Logits f32[B, K] and, unless ``mutable`` is false, the new values of what it names."""
        streams = any(place.drawn for place in self.places)
        # Evaluation draws nothing, unless the module draws there too: then always the same.
        key = (rngs or {})["dropout"] if train and streams else randomness.key(0)
        module = self._merged(self.training if train else self.evaluation, variables, key)
        fix_nnx(module)
        logits = module(x, **options(module, train, mask))
        if mutable is False:
            return logits
        wanted = (
            variables if mutable is True else [mutable] if isinstance(mutable, str) else mutable
        )
        after = {place: leaf for place, leaf in _leaves(module) if place.collection in wanted}
        for place, leaf in after.items():
            if place in self.places:  # a step of a model in bfloat16 must not change the types
                after[place] = leaf.astype(_at(variables, place).dtype)
        return logits, {name: value for name, value in _nested(after).items() if name in wanted}

    def _merged(self, graph: nnx.GraphDef, variables: Mapping[str, Any], key: Array) -> nnx.Module:
        """A new module with these values, its random streams started from the key."""
        values = []
        for number, place in enumerate(self.places):
            if place.collection == KEY:
                own = jax.random.fold_in(key, number)
                value = jax.random.split(own, place.shape) if place.shape else own
            elif place.collection == COUNT:
                value = jnp.zeros(place.shape, jnp.uint32)
            else:
                value = _at(variables, place)
            values.append((place.path, value))
        return _module(graph, values)


def of_instance(model: nnx.Module) -> Nnx:
    """An nnx module whose present values are its first ones; it is left as it is."""
    graph, _ = nnx.split(model)
    leaves = list(_leaves(model))
    digest = hashlib.sha256()
    for value in (np.asarray(leaf) for place, leaf in leaves if not place.drawn):
        digest.update(f"{value.shape} {value.dtype}".encode() + value.tobytes())

    def first(key: Array) -> nnx.Module:
        return _module(graph, [(place.path, leaf) for place, leaf in leaves])

    return _made(first, digest.hexdigest(), named(model))


def value_of(variable: nnx.Variable) -> Any:
    """What a variable holds; flax 0.12.0 has it as a property, later ones as a method.

    Example:
      >>> value_of(nnx.Param(jnp.float32(2))).item()
      2.0
    """
    # Of the class, since what a variable lacks is asked of its value.
    return variable.get_value() if hasattr(type(variable), "get_value") else variable.value


def of_factory(factory: Callable[..., Any]) -> Nnx:
    """What gives an nnx module when it is called with ``rngs``, which are made of the seed."""

    def first(key: Array) -> nnx.Module:
        default, params, dropout = (jax.random.fold_in(key, purpose) for purpose in range(3))
        module = factory(rngs=nnx.Rngs(default, params=params, dropout=dropout))
        if not isinstance(module, nnx.Module):
            raise ConfigError(
                f"model: {named(factory)} gives {named(module)}; it must give a nnx.Module"
            )
        return module

    return _made(first, _identity(factory), named(factory))


def _module(graph: nnx.GraphDef, values: Any) -> Any:
    """A new module with these values, pairs of a path and an array."""
    return nnx.merge(graph, nnx.from_flat_state(values))


def _made(first: Callable[[Array], nnx.Module], source: Hashable, name: str) -> Nnx:
    """Builds the module once, as shapes, to learn what it is made of."""
    found: dict[str, Any] = {}

    def look(key: Array) -> None:
        module = first(key)
        found["places"] = tuple(place for place, _ in _leaves(module))
        copy = nnx.merge(*nnx.split(module))
        for mode, set_to in (("training", copy.train), ("evaluation", copy.eval)):
            set_to()
            found[mode] = nnx.split(copy)[0]

    try:
        jax.eval_shape(look, randomness.key(0))
        adapter = Nnx(**found, source=source, first=first)
        hash(adapter)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model: building {name} raises {told(error)}; keep arrays in nnx.Param, and what is "
            "no array hashable"
        ) from None
    return adapter


def _leaves(module: nnx.Module) -> Iterator[tuple[Place, Any]]:
    """The arrays of a module and their places, in the order of their paths."""
    for path, leaf in nnx.to_flat_state(nnx.state(module)):
        collection = type(leaf).__name__
        if isinstance(leaf, nnx.RngState):
            collection = KEY if isinstance(leaf, nnx.RngKey) else COUNT
        elif isinstance(leaf, nnx.Param):
            collection = "params"
        elif isinstance(leaf, nnx.BatchStat):
            collection = "batch_stats"
        elif not isinstance(leaf, nnx.Variable):
            collection = "arrays"
        value = value_of(leaf) if isinstance(leaf, nnx.Variable) else leaf
        yield Place(path, collection, jnp.shape(value)), value


def _nested(leaves: Mapping[Place, Any]) -> Variables:
    """Nested dicts by collection and path."""
    variables: Variables = {}
    for (path, collection, _), leaf in leaves.items():
        inner = variables
        for name in (collection, *path[:-1]):
            inner = inner.setdefault(str(name), {})
        inner[str(path[-1])] = leaf
    return variables


def _at(variables: Mapping[str, Any], place: Place) -> Any:
    inner: Any = variables
    for name in (place.collection, *place.path):
        inner = inner[str(name)]
    return inner


def _identity(factory: Any) -> Hashable:
    """Equal for equal partials of one function, which Python tells apart."""
    if not isinstance(factory, functools.partial):
        return factory
    parts = (factory.func, factory.args, tuple(sorted(factory.keywords.items())))
    try:
        hash(parts)
    except TypeError:
        return factory
    return parts
