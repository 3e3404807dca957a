"""Which variables of a model go together, and how they travel: specifications of groups."""

import dataclasses
import fnmatch
from collections.abc import Sequence

from fedcode_jax.errors import ConfigError, check_name

SETTING = "algorithm.groups"

KINDS = ("kernel", "bias", "norm", "stats")
"""Kinds of variables: kernels and embeddings; biases; scales and biases of normalisation
layers; their running statistics."""

POLICIES = ("coded", "layered", "dense", "dense16", "densebf16", "local")
"""How a group travels: as one codebook and codes; as a codebook and codes of each of its
variables; as float32, float16 or bfloat16 in weights messages; never."""

FLOATS = {"dense": "float32", "dense16": "float16", "densebf16": "bfloat16"}
"""The type of the floats of a policy that sends floats."""

_MOST_NAMES = 24  # of variables that an error lists one by one

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
      names: globs on the paths of variables in the group, whatever their kinds.
    """

    kinds: tuple[str, ...]
    policy: str
    names: tuple[str, ...] = ()


def parse(spec: str) -> tuple[Group, ...]:
    """Reads a specification of groups.

    Kinds joined by ``+`` form one group (and share one codebook if it is coded); every kind
    is named once. ``kernels`` (one codebook for all kernels, the rest as float32 in weights
    messages), ``layers`` (the same with a codebook for each kernel), ``params`` (one codebook for
    all that is trained, running statistics as float32) and ``everything`` (one codebook over the
    whole state, running statistics included, as the authors' program) stand for such
    specifications.

    Variables may be named too, by globs on their paths, such as ``*/head/*`` on
    ``params/head/kernel``; a ``*`` stands for slashes as well. What has a ``*``, ``?``, ``[`` or
    ``/`` in it is a glob. Names count before kinds, and the first that fits a variable has it.

    Args:
      spec: parts separated by commas, ``name[+name...]=policy`` with kinds and globs for names, or
        a preset's name for parts.

    Returns:
      The groups, in the order written.

    Raises:
      ConfigError: an unknown kind or policy, or a kind that is missing or named twice.

    Example:
      >>> parse("kernel=coded,bias+norm=coded,stats=local")[1]
      Group(kinds=('bias', 'norm'), policy='coded', names=())
      >>> parse("*/head/*=local,params")[:2]
      (Group(kinds=(), policy='local', names=('*/head/*',)), Group(kinds=('kernel', 'bias', ...
    """
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigError(
            f"{SETTING}: {spec!r} is not a specification; use one of {', '.join(_PRESETS)} "
            "or parts such as kernel=coded,bias+norm+stats=dense"
        )
    if "=" not in spec and "," not in spec:
        check_name(SETTING, spec, _PRESETS)
    written = [part.strip() for part in spec.split(",")]
    parts = [each for part in written for each in _PRESETS.get(part, part).split(",")]
    groups = tuple(_group(part) for part in parts)
    named = [kind for group in groups for kind in group.kinds]
    for kind in KINDS:
        if named.count(kind) != 1:
            times = "missing" if kind not in named else "named more than once"
            raise ConfigError(f"{SETTING}: {spec!r}: kind {kind!r} is {times}; name each once")
    return groups


def _group(part: str) -> Group:
    """A part of a specification."""
    written, equals, policy = part.partition("=")
    if not equals:
        raise ConfigError(f"{SETTING}: {part!r} lacks a policy; write kind=policy")
    check_name(f"{SETTING} (policy)", policy.strip(), POLICIES)
    names = [name.strip() for name in written.split("+")]
    globs = tuple(name for name in names if any(mark in name for mark in "*?[/"))
    kinds = tuple(name for name in names if name not in globs)
    for kind in kinds:
        check_name(f"{SETTING} (kind)", kind, KINDS)
    return Group(kinds, policy.strip(), globs)


def keeps_any(groups: Sequence[Group]) -> bool:
    """Whether some group is kept by the clients.

    Example:
      >>> keeps_any(parse("kernels")), keeps_any(parse("*/head/*=local,kernels"))
      (False, True)
    """
    return any(group.policy == "local" for group in groups)


def members_of(paths: Sequence[tuple], groups: Sequence[Group]) -> list[tuple[int, ...]]:
    """Which variables are in each group.

    Args:
      paths: of all variables of a model, as JAX gives them.
      groups: as ``parse`` gives them.

    Returns:
      For every group the places of its variables, in ascending order.

    Raises:
      ConfigError: a glob that no variable fits, or that only those fit that are named before.

    Example:
      >>> import jax
      >>> tree = {"params": {"conv": {"kernel": 0.0}, "head": {"bias": 0.0, "kernel": 0.0}}}
      >>> paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
      >>> members_of(paths, parse("*/head/*=local,kernel=coded,bias+norm+stats=dense"))
      [(1, 2), (0,), ()]
    """
    globs = [(g, glob) for g, group in enumerate(groups) for glob in group.names]
    by_kind = {kind: g for g, group in enumerate(groups) for kind in group.kinds}
    written = names_of(paths)
    owners: list[int | None] = []
    first: set[tuple[int, str]] = set()
    for name, kind in zip(written, kinds_of(paths), strict=True):
        fit = next((one for one in globs if fnmatch.fnmatchcase(name, one[1])), None)
        owners.append(by_kind.get(kind) if fit is None else fit[0])
        first |= set() if fit is None else {fit}
    for one in globs:
        if one not in first:
            taken = any(fnmatch.fnmatchcase(name, one[1]) for name in written)
            what = "only variables that are named before it" if taken else "no variable"
            raise ConfigError(
                f"{SETTING}: {one[1]!r} names {what}; the model has {', '.join(_told(written))}"
            )
    return [tuple(i for i, own in enumerate(owners) if own == g) for g in range(len(groups))]


def _told(names: Sequence[str]) -> list[str]:
    """The variables' paths, or globs of the modules if there are many."""
    if len(names) <= _MOST_NAMES:
        return list(names)
    parts = [name.split("/") for name in names]
    return list(
        dict.fromkeys("/".join(each[:2]) + ("/*" if len(each) > 2 else "") for each in parts)
    )


def names_of(paths: Sequence[tuple]) -> list[str]:
    """The path of each variable, as globs and errors have it.

    Example:
      >>> import jax
      >>> tree = {"params": {"head": {"bias": 0.0, "kernel": 0.0}}}
      >>> names_of([path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]])
      ['params/head/bias', 'params/head/kernel']
    """
    return ["/".join(_keys(path)) for path in paths]


def _keys(path: tuple) -> tuple[str, ...]:
    return tuple(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path
    )


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
      >>> import jax
      >>> tree = {"params": {"conv": {"kernel": 0.0, "bias": 0.0}, "norm1": {"bias": 0.0}}}
      >>> kinds_of([path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]])
      ['bias', 'kernel', 'norm']
    """
    named = [tuple(key.lower() for key in _keys(path)) for path in paths]
    scaled = {names[:-1] for names in named if names and names[-1] in _SCALES}

    def kind(names: tuple[str, ...]) -> str:
        if "batch_stats" in names:
            return "stats"
        if not names or names[-1] not in _SCALES + _BIASES:
            return "kernel"
        in_norm = names[:-1] in scaled or any("norm" in name for name in names[:-1])
        return "norm" if in_norm else "bias"

    return [kind(names) for names in named]
