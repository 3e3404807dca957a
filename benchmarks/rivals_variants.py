"""The methods that ``rivals.py`` compares: every registered one, and some in several settings."""

from typing import Any, NamedTuple

from updates import VARIANTS as CHANGES
from updates import changes

from fedcode_jax.config import AlgorithmConfig

SEVERAL: dict[str, dict[str, Any]] = {
    "4 centers, both ways": changes(name="codebook", num_clusters=4),
    "eden, 2 bits, both ways": changes(name="eden", bits=2),
    "fedpaq, 2 bits": {"algorithm.name": "fedpaq", "algorithm.up.bits": 2},
    "eden, 0.5 bits": {"algorithm.name": "eden", "algorithm.up.bits": 0.5},
    "stc, 5 %": {
        "algorithm.name": "stc",
        "algorithm.up.fraction": 0.05,
        "algorithm.down.fraction": 0.05,
    },
    "dgc, 1 %": {"algorithm.name": "dgc", "algorithm.up.fraction": 0.01},
}
"""Where the defaults of a name say little; those of ``updates.py`` come on top."""
ELSEWHERE = ("3 centers, up alone", "largest 5 %, both ways")
"""Rows of ``updates.py`` that stay there: others here are like them."""
SGD = {"local.optimizer": "sgd", "local.learning_rate": 0.1}
OTHERWISE: dict[str, dict[str, Any]] = {
    "fedbat": SGD,
    "fedbn": {"model.norm": "batch"},
    "fedcompress": {"local.learning_rate": 3e-3},
}
"""By name, what a method needs beside its own settings; it is compared with FedAvg under the same.
What reads gradients off plain SGD (``needs_sgd``) has that without being named here."""
LONG = ("fedcompress",)
"""Those that need many local steps: on a small data set more epochs, as the task says."""
OF_NO_WEIGHTS: dict[str, dict[str, Any]] = {
    "fedbif": {"local.learning_rate": 1e-4},
    "fedpm": {"local.learning_rate": 0.1},
    "fedpm_mrc": {"local.learning_rate": 0.1},
}
"""By name, the learning rate of what is not weights: it says nothing of FedAvg, with which they are
compared as it is."""


class Variant(NamedTuple):
    """A row of the table.

    Attributes:
      settings: by dotted name, on top of those of the task.
      besides: those of them that are not the algorithm's.
      reference: the row that it is compared with.
    """

    settings: dict[str, Any]
    besides: dict[str, Any]
    reference: str


def variants(long_epochs: int = 10) -> dict[str, Variant]:
    """All rows by name, FedAvg first, every reference before the rows that are compared with it.

    Args:
      long_epochs: a round's epochs of those methods that need many local steps.
    """
    named = {name: {"algorithm.name": name} for name in ("fedavg", *AlgorithmConfig.members)}
    found: dict[str, Variant] = {}
    of_changes = {name: CHANGES[name] for name in CHANGES if name not in ELSEWHERE}
    for name, settings in {**named, **of_changes, **SEVERAL}.items():
        method = settings["algorithm.name"]
        besides, reference = needed(method), "fedavg"
        if method in LONG:
            besides = {"local.epochs": long_epochs, **besides}
        if besides and method not in OF_NO_WEIGHTS:
            reference = ", ".join(["fedavg", *map(in_words, besides.items())])
            same = {"algorithm.name": "fedavg", **besides}
            found.setdefault(reference, Variant(same, besides, reference))
        found[name] = Variant({**settings, **besides}, besides, reference)
    return found


def needed(method: str) -> dict[str, Any]:
    """The settings that a method needs beside its own."""
    if AlgorithmConfig.member(method).needs_sgd:
        return SGD
    return OTHERWISE.get(method) or OF_NO_WEIGHTS.get(method, {})


def in_words(setting: tuple[str, Any]) -> str:
    """A setting in a word or two.

    Example:
      >>> in_words(("local.learning_rate", 0.1)), in_words(("local.optimizer", "sgd"))
      ('learning rate 0.1', 'sgd')
    """
    name, value = setting
    last = name.rpartition(".")[2].replace("_", " ")
    return str(value) if last == "optimizer" else f"{last} {value}"
