"""fedcode_jax: a vectorised simulator for communication-efficient federated learning.

    from fedcode_jax import ExperimentConfig, run
    result = run(ExperimentConfig(rounds=10))

The rooms: ``codebook``, ``wire``, ``compress``, ``schedules``, ``models``, ``data``, ``network``,
``algorithms``, ``clients``, ``simulation``, ``loggers``, ``config``, ``experiment``, ``results``,
``advice``, ``bench``, ``paper``; beside them ``drawing``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fedcode_jax.version import VERSION

if TYPE_CHECKING:
    from fedcode_jax.advice import advise
    from fedcode_jax.config import ExperimentConfig
    from fedcode_jax.experiment import Result, SweepResult, build, export, run, sweep

__version__ = VERSION

__all__ = [
    "ExperimentConfig",
    "Result",
    "SweepResult",
    "__version__",
    "advise",
    "build",
    "export",
    "run",
    "sweep",
]

_HOMES = {
    "ExperimentConfig": "fedcode_jax.config",
    "Result": "fedcode_jax.experiment",
    "SweepResult": "fedcode_jax.experiment",
    "advise": "fedcode_jax.advice",
    "build": "fedcode_jax.experiment",
    "export": "fedcode_jax.experiment",
    "run": "fedcode_jax.experiment",
    "sweep": "fedcode_jax.experiment",
}
_ROOMS = (
    "advice", "aggregation", "algorithms", "bench", "clients", "codebook", "compress", "config",
    "data", "devices", "drawing", "errors", "experiment", "loggers", "models", "network", "results",
    "schedules", "simulation", "wire",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    # Loaded when used: `fedcode --help` should not wait for JAX.
    if name in _HOMES:
        found = getattr(importlib.import_module(_HOMES[name]), name)
        return globals().setdefault(name, found)
    if name in _ROOMS:
        return importlib.import_module(f"fedcode_jax.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
