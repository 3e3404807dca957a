"""Runs that differ in their seed alone are one method: groups, and short labels for them."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedcode_jax import drawing
from fedcode_jax.config.schema import CHECKPOINTING
from fedcode_jax.errors import ConfigError
from fedcode_jax.results.report.labels import full_name, label
from fedcode_jax.results.report.runs import Run

# Where things lie, what is written, how a machine does its work; precision alone counts.
_WITHOUT_EFFECT = frozenset({"out", *CHECKPOINTING, "log", "evaluate_clients", "data.dir"})
_WITH_EFFECT = frozenset({"execution.precision"})
_LONGEST = 48  # characters of a short label


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one method.

    Attributes:
      label: its name in tables.
      settings: those that the label is made of, value by dotted name.
      runs: one a seed, in order of the seeds.
      pooled: settings besides the seed that differ between the runs; only where the settings to
        group by were given.
      short: the label as pictures and LaTeX have it, cut where it is long; of each group another.
    """

    label: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]
    pooled: tuple[str, ...] = ()
    short: str = ""

    @property
    def completed(self) -> tuple[Run, ...]:
        """The runs that count in means."""
        return tuple(run for run in self.runs if run.status == "completed")

    @property
    def seeds(self) -> int:
        """How many seeds the completed runs have."""
        return len({run.settings["seed"] for run in self.completed})

    @property
    def statuses(self) -> Counter[str]:
        """How many runs ended in which way."""
        return Counter(run.status for run in self.runs)

    @property
    def legend(self) -> str:
        """The short label, with how many of the runs it stands for if not all of them."""
        done, given = len(self.completed), len(self.runs)
        return self.short if done == given else f"{self.short} ({done} of {given} runs)"


def group(runs: Sequence[Run], by: Iterable[str] = ()) -> list[Group]:
    """Puts runs together that differ in nothing, or in nothing of ``by``, but their seed.

    Args:
      runs: at least one.
      by: settings to group by and to label with, in dotted form; the section may be left out
        where the last name is unambiguous. Empty: all that differ between the runs, of which
        labels leave out defaults that all groups of an algorithm have.

    Returns:
      The groups, in the order of their first runs.

    Raises:
      ConfigError: an unknown setting in ``by``, or two runs that do not differ at all.
    """
    _check_seeds(runs)
    by = [full_name(name, settings_of(runs)) for name in by]
    keys = by or _differing(runs, ignored={"seed"})
    gathered: dict[str, list[Run]] = {}
    for run in runs:
        gathered.setdefault(values_of(run, keys), []).append(run)
    groups = []
    for members in gathered.values():
        own = members[0].settings
        settings = {key: own[key] for key in keys if key in own}
        members.sort(key=lambda run: run.settings["seed"])
        pooled = tuple(_differing(members, ignored={"seed"}))
        name = label(settings, otherwise=members[0].settings["algorithm.name"])
        groups.append(Group(name, settings, tuple(members), pooled))
    return _shortened(groups if by else _telling(groups))


def with_names(rows: Mapping[str, Sequence[Run]]) -> list[Group]:
    """The runs of each row by its name, whatever they differ in.

    Args:
      rows: at least one run each.

    Returns:
      The groups, in the same order.

    Raises:
      ConfigError: two runs of a row that do not differ at all.
    """
    groups = []
    for name, runs in rows.items():
        _check_seeds(runs)
        members = tuple(sorted(runs, key=lambda run: run.settings["seed"]))
        pooled = tuple(_differing(members, ignored={"seed"}))
        groups.append(Group(name, {}, members, pooled))
    return _shortened(groups)


def _shortened(groups: list[Group]) -> list[Group]:
    short = drawing.shortened([each.label for each in groups], _LONGEST)
    return [dataclasses.replace(each, short=it) for each, it in zip(groups, short, strict=True)]


def _telling(groups: list[Group]) -> list[Group]:
    """Leaves out of a label what says nothing: defaults of all groups of the algorithm, no part."""
    values: dict[tuple[str, str], set[str]] = {}
    for each in groups:
        for key in each.settings:
            values.setdefault((_algorithm(each), key), set()).add(values_of(each.runs[0], [key]))
    telling = [
        {
            key: value
            for key, value in each.settings.items()
            if key == "algorithm.name"
            or (len(values[_algorithm(each), key]) > 1 and not _is_nothing(key, value))
            or value != each.runs[0].defaults.get(key)
        }
        for each in groups
    ]
    if not all(telling):  # where one is the algorithm without more, the others are it with more
        telling = [
            {"algorithm.name": _algorithm(g), **t} for g, t in zip(groups, telling, strict=True)
        ]
    return [
        dataclasses.replace(each, label=label(settings, otherwise=_algorithm(each)))
        for each, settings in zip(groups, telling, strict=True)
    ]


def _algorithm(group: Group) -> str:
    return str(group.runs[0].settings["algorithm.name"])


def _is_nothing(key: str, value: Any) -> bool:
    """Whether a part of an algorithm is left out, which a label says best by leaving it out."""
    return key.startswith("algorithm.") and key.endswith(".name") and value == "none"


def _check_seeds(runs: Sequence[Run]) -> None:
    """Two runs of the same config and seed would make a spread look smaller than it is."""
    names = effective(settings_of(runs))
    seen: dict[str, Run] = {}
    for run in runs:
        key = values_of(run, names)
        if key in seen:
            raise ConfigError(
                f"folders: '{run.folder}' and '{seen[key].folder}' hold the same experiment with"
                f" the same seed, {run.settings['seed']}; leave one of them out"
            )
        seen[key] = run


def values_of(run: Run, names: Sequence[str]) -> str:
    """The values of these settings as a key; 1 and 1.0 are the same."""
    values = [run.settings.get(name) for name in names]
    exact = 2**53  # whole numbers up to it are floats too
    numbers = [float(each) if type(each) is int and abs(each) <= exact else each for each in values]
    return json.dumps(numbers, sort_keys=True, default=str)


def settings_of(runs: Iterable[Run]) -> list[str]:
    """The settings that any of some runs has, by dotted name."""
    return list(dict.fromkeys(name for run in runs for name in run.settings))


def effective(names: Iterable[str]) -> list[str]:
    """The settings that change what a run comes to, of some."""
    return [
        name
        for name in names
        if name in _WITH_EFFECT or not (name in _WITHOUT_EFFECT or name.startswith("execution."))
    ]


def _differing(runs: Sequence[Run], ignored: set[str]) -> list[str]:
    first, rest = runs[0], runs[1:]
    differing = [
        name
        for name in effective(settings_of(runs))
        if name not in ignored
        and any(run.settings.get(name) != first.settings.get(name) for run in rest)
    ]
    return sorted(differing, key=lambda name: name != "algorithm.name")
