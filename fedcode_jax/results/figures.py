"""Whether what a run's files hold are figures: a file may be damaged and still be JSON."""

from collections.abc import Mapping
from typing import Any

from fedcode_jax.errors import CheckpointError

_FIGURES = ("accuracy", "loss", "bytes", "bits", "seconds", "reduction_vs_fedavg", "rounds")
"""What the names of figures end in; other names are not looked at."""
_SPREADS = ("client_accuracy", "personal_accuracy")
"""Figures over the clients, by name."""
_TEXTS = ("status", "network", "algorithm", "plan", "data_checksum", "partition_checksum")
_LARGEST = 1e100
"""Sums of larger ones might not be finite."""


def is_figure(value: Any) -> bool:
    """Whether a value is a finite number, or None where there is none.

    Example:
      >>> is_figure(0.5), is_figure(None), is_figure("0.5"), is_figure(float("inf"))
      (True, True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        return False
    return value is None or abs(value) <= _LARGEST


def check_record(where: str, record: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    """Checks the record of a round.

    Args:
      where: the file and the line.
      record: what the line holds.
      before: the record in the line before; None for the first.

    Raises:
      CheckpointError: it is not of the next round, or a figure is none.
    """
    if "round" in record:
        number, last = record["round"], (before or {}).get("round")
        is_whole = isinstance(number, int) and not isinstance(number, bool)
        if not is_whole or (last is not None and number != last + 1):
            follows = "" if last is None else f" after {last}"
            raise CheckpointError(f"{where}: is damaged: it is of round {number!r}{follows}")
    _check_figures(where, record)


def check_summary(where: str, summary: Mapping[str, Any]) -> None:
    """Checks the closing figures of a run.

    Args:
      where: the file.
      summary: what it holds.

    Raises:
      CheckpointError: a figure is none, or a text.
    """
    for name in _TEXTS:
        if not isinstance(summary.get(name, ""), str):
            raise _damaged(where, name, summary[name])
    for name in _SPREADS:
        spread = summary.get(name)
        if spread is not None and not (
            isinstance(spread, Mapping) and all(map(is_figure, spread.values()))
        ):
            raise _damaged(where, name, spread)
    others = {*_SPREADS, "to_accuracy"}  # a list, which nobody reads
    _check_figures(where, {n: each for n, each in summary.items() if n not in others})


def check_evaluation(where: str, evaluation: Mapping[str, Any]) -> None:
    """Checks the accuracies of clients at the last evaluation.

    Args:
      where: the file.
      evaluation: what it holds.

    Raises:
      CheckpointError: they are no lists of figures.
    """
    for name in _SPREADS:
        models = evaluation.get(name) or {}
        lists = models.values() if isinstance(models, Mapping) else [models]
        for each in lists:
            if not (each is None or (isinstance(each, list) and all(map(is_figure, each)))):
                raise _damaged(where, name, each)


def _check_figures(where: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name.endswith(_FIGURES) and not is_figure(value):
            raise _damaged(where, name, value)


def _damaged(where: str, name: str, value: Any) -> CheckpointError:
    return CheckpointError(f"{where}: is damaged: {name} is {str(value)[:40]!r}")
