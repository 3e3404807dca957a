"""Loggers: what writes a run down for TensorBoard, Weights & Biases, MLflow, or one of your own.

``registry`` has the loggers by name; each imports its library when it is made. ``Logger`` is the
contract.
"""

from fedcode_jax.loggers.contract import Beginning, Logger
from fedcode_jax.loggers.figures import flat, numbers, texts
from fedcode_jax.loggers.registry import makers, registry
from fedcode_jax.loggers.telling import Loggers

__all__ = ["Beginning", "Logger", "Loggers", "flat", "makers", "numbers", "registry", "texts"]
