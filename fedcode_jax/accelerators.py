"""Says when an accelerator, or JAX's plugin for one, is there and programs run on the CPU.

JAX then runs on the CPU with a warning at most, which is a run some hundred times slower. The
cause is as a rule that of two packages one was upgraded: JAX loads a plugin for CUDA only if its
version is jaxlib's own.
"""

import functools
import importlib.metadata
import logging
import os

import jax

_PLUGINS = {
    "jax-cuda13-plugin": "cuda13",
    "jax-cuda12-plugin": "cuda12",
    "jax-rocm7-plugin": "rocm7-local",
    "jax-rocm60-plugin": "rocm",
    "libtpu": "tpu",
}
"""The packages that bring JAX an accelerator, and the extra of ``jax`` that installs each."""

_DEVICES = {
    "/dev/nvidia0": ("an NVIDIA GPU", "cuda12"),
    "/dev/kfd": ("an AMD GPU", "rocm7-local"),
    "/dev/accel0": ("a TPU", "tpu"),
}
"""Files by which Linux tells of a device, what it is, and the extra of ``jax`` for it."""


def unused() -> str | None:
    """Why programs run on the CPU although something here is for an accelerator.

    Returns:
      A sentence with the versions and what to install; None on an accelerator, if the platform was
      chosen (JAX_PLATFORMS), or if nothing here is for another.

    Raises:
      RuntimeError: JAX has no device at all.

    Example:
      >>> unused() is None or unused().startswith("runs on the CPU, although ")
      True
    """
    if getattr(jax.config, "jax_platforms", None) or jax.default_backend() != "cpu":
        return None
    jaxlib = _version("jaxlib")
    seen = [(what, extra) for path, (what, extra) in _DEVICES.items() if os.path.exists(path)]
    for plugin, extra in _PLUGINS.items():
        found = _version(plugin)
        if found is None:
            continue
        here = f"runs on the CPU, although {plugin} {found} is installed beside jaxlib {jaxlib}"
        install = f"pip install -U 'jax[{extra}]'"
        if "cuda" in extra and found != jaxlib:
            return (
                f"{here}, which loads only its own version: {install}, or to keep the plugin "
                f"pip install 'jax[{extra}]=={found}'"
            )
        if seen:
            return f"{here}, and {seen[0][0]} is here: update its driver, or {install}"
        return f"{here}: no device is seen; look for its driver, or set JAX_PLATFORMS=cpu"
    if seen:
        what, extra = seen[0]
        return (
            f"runs on the CPU, although {what} is here: jaxlib {jaxlib} has no plugin for it; "
            f"pip install -U 'jax[{extra}]', or set JAX_PLATFORMS=cpu"
        )
    return None


@functools.cache
def tell_unused() -> None:
    """Logs the sentence of ``unused``, if there is one; once in a process."""
    reason = unused()
    if reason is not None:
        logging.getLogger("fedcode_jax").warning("fedcode: %s", reason)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
