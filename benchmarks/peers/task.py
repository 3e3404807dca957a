"""A task as every peer reads it: arrays, partition, first weights, settings. NumPy alone.

What all peers must do alike lies here: normalising, who takes part in a round, and the line of
JSON that a program ends with.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Task:
    """One federated task.

    Attributes:
      meta: name, model, batch_size, epochs, learning_rate, momentum, clients_per_round, classes,
        dropout (whether it is on).
      arrays: as stored, in raw units, ``mean`` and ``std`` per channel among them.
      weights: first weights by flax path; convolutions HWIO, dense [in, out].
    """

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]

    @property
    def clients(self) -> list[np.ndarray]:
        """The sample indices of every client."""
        return np.split(self.arrays["order"], self.arrays["offsets"][1:-1])

    def normalised(self, name: str) -> np.ndarray:
        """``train_x`` or ``test_x`` as float32, normalised per channel."""
        x = self.arrays[name].astype(np.float32)
        return (x - self.arrays["mean"]) / self.arrays["std"]

    def labels(self, name: str) -> np.ndarray:
        """``train_y`` or ``test_y`` as int64."""
        return self.arrays[name].astype(np.int64)

    def cohorts(self, rounds: int, seed: int = 0) -> list[np.ndarray]:
        """The clients of each round, drawn without replacement, or all of them in order."""
        total, count = len(self.arrays["offsets"]) - 1, self.meta["clients_per_round"]
        if count == total:
            return [np.arange(total)] * rounds
        rng = np.random.default_rng(seed)
        return [rng.choice(total, count, replace=False) for _ in range(rounds)]


def load(path: str | pathlib.Path) -> Task:
    """Reads what ``tasks.py`` wrote."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    weights = {name[2:]: arrays.pop(name) for name in list(arrays) if name.startswith("w/")}
    return Task(json.loads(str(arrays.pop("meta"))), arrays, weights)


def arguments(
    doc: str, more: Callable[[argparse.ArgumentParser], Any] | None = None
) -> argparse.Namespace:
    """Reads the command line that every peer has: TASK.npz --rounds N --threads T [--check].

    The process, and what it starts, may then use as many cores as ``--threads`` says: call this
    before importing anything that counts the cores.

    Args:
      doc: docstring of the program.
      more: adds options of its own.

    Returns:
      The options; ``--check`` has set the warm-up to none.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("task", help="a file that tasks.py wrote")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=1, help="rounds before, not counted")
    parser.add_argument("--check", action="store_true", help="no warm-up: end after --rounds")
    if more is not None:
        more(parser)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # Every runtime has a setting of its own for threads; this one holds for all.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.check:
        options.warmup = 0
    return options


def report(
    peer: str,
    packages: tuple[str, ...],
    options: argparse.Namespace,
    *,
    setup_seconds: float,
    round_seconds: list[float],
    test_loss: float,
    test_accuracy: float,
    **more: Any,
) -> None:
    """Prints the last line of a program: its result as JSON.

    Args:
      peer: its name.
      packages: whose versions are stated.
      options: from ``arguments``.
      setup_seconds: from the start of the program to the first counted round.
      round_seconds: of every round, those of the warm-up first.
      test_loss: after the last round.
      test_accuracy: after the last round.
      **more: anything else worth keeping.
    """
    versions = {name: _version(name) for name in packages}
    result = {
        "peer": peer,
        "versions": {"python": platform.python_version(), **versions},
        "setup_seconds": round(setup_seconds, 3),
        "warmup_seconds": round_seconds[: options.warmup],
        "round_seconds": round_seconds[options.warmup :],
        "test_loss": float(test_loss),
        "test_accuracy": float(test_accuracy),
        "threads": options.threads,
        **more,
    }
    print(json.dumps(result), flush=True)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed: taken from a folder"
