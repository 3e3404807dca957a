"""Which parts of a model are coded, sent as floats, or kept: groups and their layout."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fedcode_jax.errors import ConfigError, check_name

Weights = Any
"""A pytree of float arrays: the variables of a model."""

KINDS = ("kernel", "bias", "norm", "stats")
"""Kinds of variables: kernels and embeddings; biases; scales and biases of normalisation
layers; their running statistics."""

POLICIES = ("coded", "layered", "dense", "dense16", "densebf16", "local")
"""How a group travels: as one codebook and codes; as a codebook and codes of each of its
variables; as float32, float16 or bfloat16 in weights messages; never."""

FLOATS = {"dense": "float32", "dense16": "float16", "densebf16": "bfloat16"}
"""The type of the floats of a policy that sends floats."""

_SCALES, _BIASES = ("scale", "gamma"), ("bias", "b", "beta")

_PRESETS = {
    "kernels": "kernel=coded,bias+norm+stats=dense",
    "layers": "kernel=layered,bias+norm+stats=dense",
    "params": "kernel+bias+norm=coded,stats=dense",
    "everything": "kernel+bias+norm+stats=coded",
}


@dataclasses.dataclass(frozen=True)
class Group:
    """Variables that share one codebook, or are sent together.

    Attributes:
      kinds: the kinds of variables in the group, of ``KINDS``.
      policy: one of ``POLICIES``.
    """

    kinds: tuple[str, ...]
    policy: str


def parse(spec: str) -> tuple[Group, ...]:
    """Reads a specification of groups.

    Kinds joined by ``+`` form one group (and share one codebook if it is coded); every kind
    is named once. ``kernels`` (one codebook for all kernels, the rest as float32 in weights
    messages), ``layers`` (the same with a codebook for each kernel), ``params`` (one codebook for
    all that is trained, running statistics as float32) and ``everything`` (one codebook over the
    whole state, running statistics included, as the authors' program) stand for such
    specifications.

    Args:
      spec: a preset's name, or ``kind[+kind...]=policy`` parts separated by commas.

    Returns:
      The groups, in the order written.

    Raises:
      ConfigError: an unknown kind or policy, or a kind that is missing or named twice.

    Example:
      >>> parse("kernel=coded,bias+norm=coded,stats=local")[1]
      Group(kinds=('bias', 'norm'), policy='coded')
    """
    setting = "algorithm.groups"
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigError(
            f"{setting}: {spec!r} is not a specification; use one of {', '.join(_PRESETS)} "
            "or parts such as kernel=coded,bias+norm+stats=dense"
        )
    if "=" not in spec:
        check_name(setting, spec, _PRESETS)
    groups = []
    for part in _PRESETS.get(spec, spec).split(","):
        names, equals, policy = part.strip().partition("=")
        if not equals:
            raise ConfigError(f"{setting}: {part.strip()!r} lacks a policy; write kind=policy")
        check_name(f"{setting} (policy)", policy.strip(), POLICIES)
        kinds = tuple(name.strip() for name in names.split("+"))
        for kind in kinds:
            check_name(f"{setting} (kind)", kind, KINDS)
        groups.append(Group(kinds, policy.strip()))
    named = [kind for group in groups for kind in group.kinds]
    for kind in KINDS:
        if named.count(kind) != 1:
            times = "missing" if kind not in named else "named more than once"
            raise ConfigError(f"{setting}: {spec!r}: kind {kind!r} is {times}; name each once")
    return tuple(groups)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the leaves of one model's weights are laid out in the vectors of its groups.

    Hashable and static: it describes shapes and holds no arrays.

    Attributes:
      treedef: the structure of the weights.
      shapes: shape of every leaf.
      members: for every group, the leaves in it.
      policies: for every group, its policy; a layered group is as many coded ones.
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    members: tuple[tuple[int, ...], ...]
    policies: tuple[str, ...]

    @classmethod
    def of(cls, weights: Weights, groups: Sequence[Group]) -> "Layout":
        """The layout of weights under groups; groups without a variable are left out.

        Args:
          weights: a pytree of float arrays.
          groups: as ``parse`` gives them.

        Returns:
          The layout.

        Raises:
          ConfigError: a leaf that is not of a floating type, or weights without leaves.
        """
        paths, treedef = jax.tree_util.tree_flatten_with_path(weights)
        if not paths:
            raise ConfigError("model: it has no weights; there is nothing to train or send")
        kinds = kinds_of([path for path, _ in paths])
        for path, leaf in paths:
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise ConfigError(
                    f"model: variable {jax.tree_util.keystr(path)} has type {leaf.dtype}; "
                    "only floating types can be averaged and coded"
                )
        members = [tuple(i for i, k in enumerate(kinds) if k in g.kinds) for g in groups]
        kept: list[tuple[tuple[int, ...], str]] = []
        for member, group in zip(members, groups, strict=True):
            if group.policy == "layered":
                kept += [((i,), "coded") for i in member]
            elif member:
                kept.append((member, group.policy))
        return cls(
            treedef,
            tuple(jnp.shape(leaf) for _, leaf in paths),
            tuple(m for m, _ in kept),
            tuple(policy for _, policy in kept),
        )

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """For every group, the number of values of each variable in it."""
        return tuple(tuple(math.prod(self.shapes[i]) for i in m) for m in self.members)

    def split(self, weights: Weights) -> tuple[jax.Array, ...]:
        """The vector f32[n_g] of every group."""
        leaves = jax.tree.leaves(weights)
        return tuple(_joined([leaves[i] for i in m]) for m in self.members)

    def join(self, vectors: Sequence[jax.Array]) -> Weights:
        """The weights whose groups' vectors are ``vectors``: the inverse of ``split``."""
        leaves: list = [None] * len(self.shapes)
        for member, vector in zip(self.members, vectors, strict=True):
            position = 0
            for i in member:
                size = math.prod(self.shapes[i])
                leaves[i] = vector[position : position + size].reshape(self.shapes[i])
                position += size
        return jax.tree.unflatten(self.treedef, leaves)


def _joined(leaves: Sequence[jax.Array]) -> jax.Array:
    """All values in one vector.

    XLA:CPU computes a concatenation that is fused with reshapes value by value: twenty times
    slower than writing the parts into place.
    """
    vector = jnp.zeros(sum(jnp.size(leaf) for leaf in leaves), jnp.result_type(*leaves))
    position = 0
    for leaf in leaves:
        vector = jax.lax.dynamic_update_slice(vector, jnp.ravel(leaf), (position,))
        position += jnp.size(leaf)
    return vector


def kinds_of(paths: Sequence[tuple]) -> list[str]:
    """The kind of each variable of a model, from the names on its path and those beside it.

    What lies in the collection ``batch_stats`` is a running statistic. A ``scale`` (or ``gamma``)
    belongs to a normalisation layer. A ``bias`` (``b``, ``beta``) does if the name of a module
    around it says ``norm``, or if there is a scale beside it. Everything else, unnamed arrays
    included, is a kernel.

    Args:
      paths: of all variables, as JAX gives them.

    Returns:
      One of ``KINDS`` each.

    Example:
      >>> tree = {"params": {"conv": {"kernel": 0.0, "bias": 0.0}, "norm1": {"bias": 0.0}}}
      >>> kinds_of([path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]])
      ['bias', 'kernel', 'norm']
    """
    named = [_names(path) for path in paths]
    scaled = {names[:-1] for names in named if names and names[-1] in _SCALES}

    def kind(names: tuple[str, ...]) -> str:
        if "batch_stats" in names:
            return "stats"
        if not names or names[-1] not in _SCALES + _BIASES:
            return "kernel"
        in_norm = names[:-1] in scaled or any("norm" in name for name in names[:-1])
        return "norm" if in_norm else "bias"

    return [kind(names) for names in named]


def _names(path: tuple) -> tuple[str, ...]:
    return tuple(str(getattr(key, "key", getattr(key, "name", ""))).lower() for key in path)


def trainable(weights: Weights) -> Weights:
    """The collection that optimisers act on; all of a tree that has no collections."""
    return weights["params"] if _has_collections(weights) else weights


def with_trainable(weights: Weights, params: Weights) -> Weights:
    """The weights with other params."""
    return {**weights, "params": params} if _has_collections(weights) else params


def _has_collections(weights: Weights) -> bool:
    return isinstance(weights, Mapping) and "params" in weights
