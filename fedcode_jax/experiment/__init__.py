"""From a config to a result: everything built, run and written down."""

from fedcode_jax.experiment.building import Experiment, build
from fedcode_jax.experiment.closing import summary_of
from fedcode_jax.experiment.exporting import export
from fedcode_jax.experiment.given import Given
from fedcode_jax.experiment.running import Observer, Result, run
from fedcode_jax.experiment.sweep_result import SweepObserver, SweepResult, SweepRun
from fedcode_jax.experiment.sweeping import sweep

__all__ = [
    "Experiment",
    "Given",
    "Observer",
    "Result",
    "SweepObserver",
    "SweepResult",
    "SweepRun",
    "build",
    "export",
    "run",
    "summary_of",
    "sweep",
]
