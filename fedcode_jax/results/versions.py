"""The versions that a run's figures depend on."""

import importlib.metadata
import platform

from fedcode_jax.version import VERSION

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def installed_versions(device: str) -> dict[str, str]:
    """The versions that a run's figures depend on.

    Args:
      device: what it runs on, e.g. ``2 x NVIDIA H200``.

    Returns:
      Version by package, then Python's, the platform and the device.

    Example:
      >>> list(installed_versions("cpu"))[-3:]
      ['python', 'platform', 'device']
    """
    found = {"fedcode_jax": VERSION}
    found |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    where = {"python": platform.python_version(), "platform": platform.platform()}
    return {**found, **where, "device": device}
