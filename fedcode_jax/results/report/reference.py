"""Which rows the others are compared with, and which of their runs belong together."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fedcode_jax.config import recorded
from fedcode_jax.errors import ConfigError
from fedcode_jax.results.report.groups import Group, effective, settings_of, values_of
from fedcode_jax.results.report.labels import full_name, shown
from fedcode_jax.results.report.runs import Run
from fedcode_jax.results.report.table import summed

METHOD = ("algorithm.", "schedule.")
"""Sections of the settings that a method is made of."""
_TASK = ("data.", "partition.")
_CHECKSUMS = ("data_checksum", "partition_checksum")
_SENT = summed("total_uplink_bytes", "total_downlink_bytes")


class Reference(NamedTuple):
    """What rows are compared with.

    Attributes:
      groups: the rows; several where each is that of another task.
      alike: settings in which the runs of a pair agree, besides the seed.
      same_data: whether their data and partitions have the same checksums.
      but_for: what may differ within a pair; empty: all that labels tell rows apart by.
    """

    groups: tuple[Group, ...]
    alike: tuple[str, ...]
    same_data: bool
    but_for: str = ""


def reference_of(groups: Sequence[Group], against: str | None = None) -> Reference | None:
    """The rows that the others are compared with.

    Args:
      groups: all rows.
      against: the label of a row, or words, all of which fit the rows that are meant: settings
        with values, such as ``num_clusters=8``, or names, such as ``fedavg``. None: FedAvg with
        floats both ways, else the row that sends most bytes.

    Returns:
      The reference; None if no row has a completed run, or there is no other row.

    Raises:
      ConfigError: no row fits, or ``against`` names a setting that there is not.
    """
    if against is not None:
        found, named = _given(groups, against)
    else:
        found, named = [each for each in groups if each.completed and _is_fedavg(each)], []
        if found and len(found) < len(groups):
            named = ["algorithm.name"]
        else:
            done = [each for each in groups if each.completed]
            found = [max(done, key=_bytes)] if done else []
    if not found or len(groups) < 2:
        return None
    # One row is compared with all others, whatever they differ in; of several, with its like.
    strict = bool(named) and (against is None or len(found) > 1)
    but_for = ""
    if strict:
        of_method = any(name.startswith(METHOD) for name in named)
        but_for = "algorithm and schedule" if of_method else " and ".join(named)
    same_data = not any(name.startswith(_TASK) for name in named)
    return Reference(tuple(found), tuple(_alike(groups, named, strict)), same_data, but_for)


def keys_of(group: Group, reference: Reference) -> dict[str, list[Run]]:
    """The completed runs of a row by what those of a pair have in common."""
    found: dict[str, list[Run]] = {}
    for run in group.completed:
        found.setdefault(key_of(run, reference), []).append(run)
    return found


def key_of(run: Run, reference: Reference) -> str:
    """What the runs of a pair have in common."""
    sums = [run.summary.get(name) for name in _CHECKSUMS] if reference.same_data else []
    return f"{values_of(run, ['seed', *reference.alike])} {sums}"


def apart(one: Run, other: Run, reference: Reference) -> list[str]:
    """What keeps two runs of one seed from being a pair: settings, or checksums."""
    found = [n for n in reference.alike if values_of(one, [n]) != values_of(other, [n])]
    if found or not reference.same_data:
        return found
    return [name for name in _CHECKSUMS if one.summary.get(name) != other.summary.get(name)]


def task_of(groups: Sequence[Group]) -> Reference:
    """How runs of any two rows are paired: same seed, data, partition and pooled settings."""
    return Reference((), tuple(_alike(groups, [], strict=False)), same_data=True)


def _alike(groups: Sequence[Group], named: Sequence[str], strict: bool) -> list[str]:
    pooled = {name for each in groups for name in each.pooled if not name.startswith(METHOD)}
    free = tuple(_reach(named))
    names = effective(settings_of(run for each in groups for run in each.runs))
    return [
        name
        for name in names
        if name != "seed"
        and not name.startswith(free)
        and (strict or name.startswith(_TASK) or name in pooled)
    ]


def _reach(named: Iterable[str]) -> Iterable[str]:
    """What settings of these names or beginnings may differ within a pair."""
    for name in named:
        if name.startswith(METHOD):
            yield from METHOD
        yield name.removesuffix("name") if name.endswith(".name") else name


def _is_fedavg(group: Group) -> bool:
    """Whether all runs are of FedAvg with floats both ways, nothing of it set otherwise."""
    plain = recorded({"algorithm": {"name": "fedavg"}}).values
    own = {name: value for name, value in plain.items() if name.startswith("algorithm.")}
    return all(own.items() <= run.settings.items() for run in group.runs)


def _bytes(group: Group) -> float:
    """Sent in a run, both ways; mean over those that have it."""
    sent = [_SENT(run) for run in group.completed]
    known = [each for each in sent if each is not None]
    return sum(known) / len(known) if known else 0.0


def _given(groups: Sequence[Group], against: str) -> tuple[list[Group], list[str]]:
    """The rows that a text means, and the settings that it names."""
    words = against.split()
    known = settings_of(run for each in groups for run in each.runs)
    wanted: list[tuple[str | None, str]] = []
    exact = [each for each in groups if against in (each.label, each.short)]
    for word in [] if exact else words:
        name, equals, value = word.partition("=")
        wanted.append((full_name(name, known, "against"), value) if equals else (None, word))
    found = exact or [
        each
        for each in groups
        if words and all(_fits(run, *each_word) for run in each.runs for each_word in wanted)
    ]
    if not found:
        labels = ", ".join(repr(each.label) for each in groups[:5])
        more = f" and {len(groups) - 5} more" if len(groups) > 5 else ""
        raise ConfigError(
            f"against: {against!r} fits no row; write the label of one, or a setting that it has, "
            f"such as algorithm.name=fedavg. The rows are {labels}{more}"
        )
    named = [name or _named_by(found[0].runs[0], value) for name, value in wanted]
    return found, list(dict.fromkeys(named))


def _fits(run: Run, name: str | None, value: str) -> bool:
    if name is None:
        return any(
            shown(each) == value for key, each in run.settings.items() if key.endswith(".name")
        )
    return name in run.settings and _plain(shown(run.settings[name])) == _plain(value)


def _plain(value: str) -> str:
    """A value's text, so that 0.10 is 0.1 and None is none."""
    try:
        return repr(float(value))
    except ValueError:
        return value.casefold()


def _named_by(run: Run, value: str) -> str:
    return next(
        key for key, each in run.settings.items() if key.endswith(".name") and shown(each) == value
    )
