"""A run's first rounds in NumPy's float64: the check of ``fedcode run --check``."""

from fedcode_jax.shadow.check import Check
from fedcode_jax.shadow.interpreter import traced

__all__ = ["Check", "traced"]
