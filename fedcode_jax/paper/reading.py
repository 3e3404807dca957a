"""The paper's experiments as they are written down: what is compared, and at which scale."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError, check_name

METHODS = "methods.yaml"
KINDS = ("IID", "non-IID")
REFERENCE, SUBJECT = "fedavg", "fedcode"
"""What all methods are compared with, and what quirks are set on top of."""
_OF_METHODS = {
    "published": list,
    "partitions": dict,
    "methods": dict,
    "quirks": dict,
    "explained": list,
}
_OF_SCALE = {
    "title": str,
    "seeds": int,
    "settings": dict,
    "tasks": dict,
    "headline": list,
    "partitions": list,
    "methods": list,
    "quirks": list,
    "quirk_partitions": list,
}
"""What a file must have, and of which type."""
_ENTRIES = {"partitions": {"settings", "kind"}, "quirks": {"settings", "text"}}
_MAY_BE_EMPTY = ("settings", "quirks", "quirk_partitions")
_IN_WORDS = {str: "a text", int: "a whole number of at least 1", list: "a list", dict: "a mapping"}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes:
      source: where it is said.
      data: ``IID``, ``non-IID`` or ``pooled``.
      reduction: FedAvg's bytes over FedCode's, both ways.
      loss: points of accuracy below FedAvg.
    """

    source: str
    data: str
    reduction: float
    loss: float


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes:
      settings: by dotted name, on top of those of the task.
      quirk: what the setting of a quirk is about; empty for a method.
    """

    settings: Mapping[str, Any]
    quirk: str = ""


@dataclasses.dataclass(frozen=True)
class Paper:
    """All that is run at a scale.

    Attributes:
      name: of the scale.
      title: of it, in words.
      seeds: of each experiment, from 0 on.
      tasks: by name, the experiment without method and partition.
      headline: the tasks whose means stand beside the published figures.
      partitions: by name, its settings.
      kinds: by name of a partition, ``IID`` or ``non-IID``.
      methods: by name, FedAvg first; quirks among them.
      quirk_partitions: those on which quirks are measured.
      published: what is set beside.
      explained: why the figures differ.
    """

    name: str
    title: str
    seeds: int
    tasks: dict[str, ExperimentConfig]
    headline: tuple[str, ...]
    partitions: dict[str, Mapping[str, Any]]
    kinds: dict[str, str]
    methods: dict[str, Method]
    quirk_partitions: tuple[str, ...]
    published: tuple[Published, ...]
    explained: tuple[str, ...]


def home() -> Path:
    """The folder of the experiments: that of the working directory, or what comes with us."""
    here = Path("benchmarks", "paper")
    return here if here.is_dir() else Path(__file__).parent / "experiments"


def read(scale: str, folder: Path | None = None, data: Mapping[str, Any] | None = None) -> Paper:
    """Reads the experiments of a scale.

    Args:
      scale: name of a file in the folder, without its ending.
      folder: of ``methods.yaml`` and the scales; None for ``home()``.
      data: by name of a data set, settings that are taken in its place, such as
        ``{"cifar10": {"data.name": "npz", "data.path": ["cifar10.npz"]}}``.

    Returns:
      The experiments; all settings are known to be good.

    Raises:
      ConfigError: no such scale, or a file that does not say what it must.
    """
    folder = home() if folder is None else folder
    if not (folder / METHODS).is_file():
        raise ConfigError(
            f"folder: {folder} holds no {METHODS}; give the repository's benchmarks/paper, or one "
            "of your own like it"
        )
    scales = sorted(path.stem for path in folder.glob("*.yaml") if path.name != METHODS)
    check_name("scale", scale, scales)
    common, own = (
        _mapping(folder / METHODS, _OF_METHODS),
        _mapping(folder / f"{scale}.yaml", _OF_SCALE),
    )
    place = str(folder / f"{scale}.yaml")
    subject = _chosen("methods", [SUBJECT], common, place)[SUBJECT]
    methods = {
        name: Method(settings)
        for name, settings in _chosen("methods", own["methods"], common, place).items()
    }
    for name, quirk in _chosen("quirks", own["quirks"], common, place).items():
        methods[name] = Method({**subject, **quirk["settings"]}, " ".join(quirk["text"].split()))
    if next(iter(methods), None) != REFERENCE or SUBJECT not in methods:
        raise ConfigError(f"{place}: methods must begin with {REFERENCE}, and have {SUBJECT}")
    partitions = _chosen("partitions", own["partitions"], common, place)
    for name in own["headline"]:
        check_name(f"{place}: headline", name, own["tasks"])
    for name in own["quirk_partitions"]:
        check_name(f"{place}: quirk_partitions", name, partitions)
    paper = Paper(
        name=scale,
        title=own["title"],
        seeds=own["seeds"],
        tasks={
            name: _task(own["settings"], task, data or {}) for name, task in own["tasks"].items()
        },
        headline=tuple(own["headline"]),
        partitions={name: each["settings"] for name, each in partitions.items()},
        kinds={name: each["kind"] for name, each in partitions.items()},
        methods=methods,
        quirk_partitions=tuple(own["quirk_partitions"]),
        published=tuple(_published(each, folder / METHODS) for each in common["published"]),
        explained=tuple(" ".join(text.split()) for text in common["explained"]),
    )
    for task in paper.tasks:
        configs(paper, task)
    return paper


def configs(paper: Paper, task: str) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The settings of each experiment of a task, by method, partition and seed.

    Raises:
      ConfigError: one that cannot be used.
    """
    found = {}
    for method, one in paper.methods.items():
        for partition in partitions_of(paper, method):
            for seed in range(paper.seeds):
                found[method, partition, seed] = {
                    **paper.partitions[partition],
                    **one.settings,
                    "seed": seed,
                }
            replace(paper.tasks[task], found[method, partition, 0])
    return found


def partitions_of(paper: Paper, method: str) -> tuple[str, ...]:
    """The partitions on which a method, or a quirk, is run."""
    return paper.quirk_partitions if paper.methods[method].quirk else tuple(paper.partitions)


def _task(
    settings: Mapping[str, Any], own: Mapping[str, Any], data: Mapping[str, Any]
) -> ExperimentConfig:
    together = {**settings, **own}
    instead = data.get(together.get("data.name", ""))
    return replace(ExperimentConfig(), {**together, **(instead or {})})


def _mapping(path: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    """What a file says, each part of the type that it must have."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    given = set(found) if isinstance(found, dict) else set()
    if given != set(kinds):
        wrong = ", ".join(sorted(map(str, set(kinds) ^ given)))
        raise ConfigError(f"{path}: must have {', '.join(sorted(kinds))}; look at {wrong}")
    for name, kind in kinds.items():
        value = found[name]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or (name not in _MAY_BE_EMPTY and not value) or (kind is int and value < 1):
            _refuse(path, name, value, _IN_WORDS[kind])
        texts = value if kind is list and name != "published" else []
        if kind is list and name != "published" and len({*map(str, value)}) < len(value):
            _refuse(path, name, value, "a list without repetitions")
        if kind is dict and not all(isinstance(each, str) for each in value):
            _refuse(path, name, value, "a mapping whose names are texts")
        named = value.values() if kind is dict and name != "settings" else []
        if not all(isinstance(each, str) for each in texts):
            _refuse(path, name, value, "a list of texts")
        if not all(isinstance(each, dict) for each in named):
            _refuse(path, name, value, "a mapping of names to mappings")
    return found


def _refuse(path: Path, name: str, value: Any, what: str) -> NoReturn:
    raise ConfigError(f"{path}: {name}: {value!r} cannot be used; it must be {what}")


def _published(entry: Any, path: Path) -> Published:
    """A published figure; each field of its type."""
    kinds: dict[str, Any] = {"source": str, "data": str, "reduction": float, "loss": float}
    fits = isinstance(entry, dict) and set(entry) == set(kinds)
    for name, kind in kinds.items() if fits else ():
        if kind is float:
            fits = fits and type(entry[name]) in (int, float)
        else:
            fits = fits and isinstance(entry[name], kind)
    if not (fits and entry["data"] in (*KINDS, "pooled")):
        what = "source, data (IID, non-IID or pooled), reduction and loss, the last two numbers"
        _refuse(path, "published", entry, f"a mapping of {what}")
    return Published(**entry)


def _chosen(kind: str, names: list[str], common: Mapping[str, Any], place: str) -> dict[str, Any]:
    for name in names:
        check_name(f"{place}: {kind}", name, common[kind])
        own = common[kind][name]
        needed = _ENTRIES.get(kind)
        if needed and not (set(own) == needed and isinstance(own["settings"], dict)):
            what = f"a mapping with {' and '.join(sorted(needed))}, the settings a mapping"
            _refuse(Path(METHODS), f"{kind}: {name}", own, what)
    return {name: common[kind][name] for name in names}
