"""The versions that a run's figures depend on, and the flags of its compiler."""

import importlib.metadata
import os
import platform

from fedcode_jax.version import VERSION

_FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
"""Of the environment; they may change what a compiler makes of a program."""
_SETTINGS = ("jax_default_matmul_precision", "jax_disable_jit", "jax_cpu_enable_fast_math")
"""Of JAX, which may change numbers; the others that do are the same in every run."""
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def installed_versions(device: str) -> dict[str, str]:
    """The versions that a run's figures depend on.

    Args:
      device: what it runs on, e.g. ``2 x NVIDIA H200``.

    Returns:
      Version by package, then Python's, the platform, the compiler's flags that were set, and the
      device.

    Example:
      >>> list(installed_versions("cpu"))[-3:]
      ['platform', 'flags', 'device']
    """
    found = {"fedcode_jax": VERSION}
    found |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    where = {"python": platform.python_version(), "platform": platform.platform()}
    return {**found, **where, "flags": " ".join(_flags()) or "none", "device": device}


def _flags() -> list[str]:
    """What of the environment and of JAX's settings is not as by default."""
    import jax  # reports, which read these versions, do without

    found = [f"{name}={os.environ[name]}" for name in _FLAGS if os.environ.get(name)]
    settings = {name: getattr(jax.config, name, None) for name in _SETTINGS}
    return found + [f"{name}={value}" for name, value in settings.items() if value]
