"""Config files of earlier versions: one flat section then held the settings of every choice."""

from collections.abc import Mapping
from typing import Any

_FLAT: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "data.": (
        frozenset({"path", "dir", "num_classes", "shape", "train_size", "test_size"}),
        frozenset({"features"}),
    ),
    "partition.": (
        frozenset({"num_clients", "alpha", "classes_per_client", "min_size"}),
        frozenset(),
    ),
    "model.": (frozenset(), frozenset({"norm", "width"})),
    "algorithm.": (
        frozenset({"num_clusters", "groups", "merge", "coding", "period"}),
        frozenset({"block", "rate_weight", "up", "down"}),
    ),
    "algorithm.up.": (
        frozenset({"num_clusters", "coding", "rate_weight", "fraction"}),
        frozenset({"error_feedback"}),
    ),
    "algorithm.down.": (
        frozenset({"num_clusters", "coding", "rate_weight", "fraction"}),
        frozenset(),
    ),
    "schedule.": (
        frozenset({"start", "server_period", "client_period", "alpha", "threshold", "budget_mb"}),
        frozenset({"measure", "uplink"}),
    ),
    "network.": (
        frozenset(),
        frozenset({"table", "uplink_mbit", "downlink_mbit", "link_spread"}),
    ),
}
"""By section: settings that every file of a run had, more than any choice has, and later ones."""


def with_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run's file, where its versions noted what is a name in them now.

    Example:
      >>> noted = {"versions": {"algorithm": "an algorithm given in Python"}}
      >>> with_names({"algorithm": {"name": "fedcode"}, **noted})
      {'algorithm': {'name': 'given algorithm (unknown)'}}
    """
    found = {name: value for name, value in settings.items() if name != "versions"}
    versions = settings.get("versions")
    if isinstance(versions, Mapping) and "algorithm" in versions:
        found["algorithm"] = {"name": "given algorithm (unknown)"}
    return found


def without_effect(
    section: str, settings: Mapping[str, Any], known: Mapping[str, bool]
) -> Mapping[str, Any]:
    """Leaves out what had no effect in earlier versions, and is no setting of the choice now.

    That is what is None, which stood for "as the choice has it"; and where a section is as a run of
    an earlier version wrote it, with the settings of all choices, those of the others.

    Args:
      section: its prefix, such as ``algorithm.``.
      settings: of a section, value by name.
      known: the settings of the choice, and whether each may be None.

    Returns:
      The settings that count.

    Example:
      >>> without_effect("model.", {"name": "mlp", "norm": None, "width": None}, {"name": False})
      {'name': 'mlp'}
    """
    always, later = _FLAT.get(section, (frozenset(), frozenset()))
    flat = always | later
    written = bool(always) and always <= settings.keys()

    def counts(name: str, value: Any) -> bool:
        if name not in flat:
            return True
        if name in known:  # None stood for the choice's own default
            return value is not None or known[name]
        return not (value is None or written)

    return {name: value for name, value in settings.items() if counts(name, value)}
