"""Compiled programs kept from one process to the next."""

import hashlib
import os
import pathlib
import platform
from typing import Any

import jax


def keep_compiled_programs() -> pathlib.Path | None:
    """Turns on JAX's persistent compilation cache, unless the user has decided about it.

    A second run of the same shapes then compiles nothing. The folder is
    ``~/.cache/fedcode_jax/compiled-<machine>``, under ``XDG_CACHE_HOME`` if that is set; it may
    be deleted at any time. Programs for a CPU hold its own instructions, so machines that share
    a home directory have folders of their own. JAX's settings come first:
    ``JAX_COMPILATION_CACHE_DIR`` names another folder, ``JAX_ENABLE_COMPILATION_CACHE=0`` turns
    it off.

    Returns:
      The folder that JAX uses, or None if there is none.
    """
    settings: Any = jax.config
    if not settings.jax_enable_compilation_cache:
        return None
    if settings.jax_compilation_cache_dir:
        return pathlib.Path(settings.jax_compilation_cache_dir)
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = pathlib.Path(home) if home else pathlib.Path.home() / ".cache"
        folder = folder / "fedcode_jax" / f"compiled-{_machine()}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a home that cannot be written, or none
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Initial weights and other small programs are worth keeping as well.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder


def _machine() -> str:
    """Tells processors with different instructions apart."""
    parts = [platform.machine(), platform.processor()]
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        parts += sorted({line for line in lines if line.startswith(("flags", "Features"))})
    except OSError:
        pass
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
