"""Machines that are not here, by name: what XLA is told of them to compile for them.

A GPU is described by a file, some by one of this package; a TPU by the name of its topology, of
which the compiler knows the rest.
"""

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.targets import GPU, TPU, Machine

_GPUS = Path(__file__).parent / "gpus"
_GIB = 1 << 30
_GPU_SHARE = 0.75
"""Of a GPU's memory, what JAX takes for its arrays unless it is told otherwise."""


class _Tpu(NamedTuple):
    """A generation of TPUs.

    Attributes:
      smallest: a topology of one host.
      memory: GiB of a device that a program may fill, as the compiler says of one that fills
        more; None if not known.
      options: of the topology.
    """

    smallest: str
    memory: float | None
    options: dict[str, str]


_TPUS = {
    "v2": _Tpu("2x2", 7.48, {}),
    "v3": _Tpu("2x2", 15.48, {}),
    "v4": _Tpu("2x2x1", 30.75, {"chip_config_name": "megacore"}),  # a device is a chip
    "v5e": _Tpu("2x2", 15.75, {}),
    "v5p": _Tpu("2x2x1", 95.74, {}),
    "v6e": _Tpu("2x2", 31.25, {}),
    "tpu7x": _Tpu("2x2x1", 94.75, {}),
}
_EXTRAS = {
    GPU: ("gpu", "jax_cuda12_plugin", "jax_cuda13_plugin"),
    TPU: ("tpu", "libtpu"),
}
"""The extra of this package that compiles for a kind of machine, and what may come with it."""


def names() -> list[str]:
    """The machines that have a name.

    Example:
      >>> {"h100", "a100", "v5e", "v6e"} <= set(names())
      True
    """
    return sorted(path.stem for path in _GPUS.glob("*.txtpb")) + list(_TPUS)


def machine(target: str, devices: int | None = None) -> Machine:
    """A machine that is not here, by its name, its topology or the description of its GPU.

    Args:
      target: a GPU or a generation of TPUs, such as ``h100`` or ``v5e``; a topology of TPUs as
        JAX names it, such as ``v5e:4x4``; or a file with a ``GpuTargetConfigProto`` of XLA in
        text form.
      devices: how many there are; None for one, or for all of a topology.

    Returns:
      The machine.

    Raises:
      ConfigError: an unknown name, a description that cannot be read, more devices than there
        are, or a package that is missing: which to install.

    Example:
      >>> machine("h1000")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: target: unknown name 'h1000'. Did you mean 'h100'? ...
    """
    name, _, layout = target.partition(":")
    path = _GPUS / f"{name}.txtpb"
    if path.is_file() and layout:
        raise ConfigError(
            f"target: {target!r} cannot be used; several GPUs are --target {name} "
            f"--execution.devices {layout}"
        )
    path = path if path.is_file() else Path(target)
    if path.is_file():
        return _gpu(target, path, devices or 1)
    if path.suffix or path.parent != Path("."):
        raise ConfigError(
            f"target: {target!r} cannot be used; there is no such file, and no machine of that "
            f"name; known: {', '.join(names())}"
        )
    if not layout:
        check_name("target", name, names())
    return _tpu(name, layout, devices)


def _gpu(target: str, path: Path, devices: int) -> Machine:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"target: {target!r} cannot be read: {error}") from error
    size = re.search(r"\bdevice_memory_size:\s*(\d+)", text)
    if size is None:
        raise ConfigError(
            f"target: {target!r} has no device_memory_size; give a GpuTargetConfigProto of XLA in "
            f"text form, such as {_GPUS / 'h100.txtpb'}"
        )
    _check_installed(target, GPU)
    options = {"target_config": text, "topology": f"1x1x{devices}"}
    found = _topology(target, "cuda", path.stem, options)
    kind = f"{found[0].device_kind} (gpu, not here)"
    return Machine(kind, GPU, "cuda", found, int(_GPU_SHARE * int(size[1])))


def _tpu(name: str, layout: str, devices: int | None) -> Machine:
    _check_installed(name, TPU)
    known = _TPUS.get(name, _Tpu(layout, None, {}))
    topology = f"{name}:{layout or known.smallest}"
    found = _topology(topology, "tpu", topology, known.options)
    wanted = devices if layout else devices or 1
    if wanted is not None and wanted > len(found):
        raise ConfigError(
            f"execution.devices: {wanted} cannot be used; {topology} has {len(found)} device(s); "
            f"name a larger topology as the target, as JAX does, such as {name}:4x4"
        )
    kind = f"{found[0].device_kind} (tpu, not here)"
    memory = None if known.memory is None else int(known.memory * _GIB)
    return Machine(kind, TPU, "tpu", found[:wanted], memory)


def _check_installed(target: str, kind: str) -> None:
    extra, *packages = _EXTRAS[kind]
    if not any(importlib.util.find_spec(package) for package in packages):
        raise ConfigError(
            f"target: {target!r} needs XLA's compiler for {kind.upper()}s, which is not installed; "
            f"pip install 'fedcode_jax[{extra}]'"
        )


def _topology(target: str, platform: str, name: str, options: dict[str, str]) -> tuple[Any, ...]:
    """The descriptions of a machine's devices."""
    from jax.experimental import topologies

    try:
        with _no_tpu_here() if platform == "tpu" else contextlib.nullcontext():
            found = topologies.get_topology_desc(name, platform, **options)
    except NotImplementedError as error:  # without a GPU, JAX passes its compiler over
        raise ConfigError(
            f"target: {target!r} cannot be used; JAX has begun without XLA's compiler for it; set "
            "JAX_PLATFORMS=cpu before it begins"
        ) from error
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"target: {target!r} cannot be used; XLA says: {reason}") from error
    return tuple(found.devices)


@contextlib.contextmanager
def _no_tpu_here() -> Iterator[None]:
    """Keeps libtpu, which is loaded meanwhile, from asking a cloud's servers about its machine."""
    told = {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
    }
    added = [name for name in told if name not in os.environ]
    os.environ.update({name: told[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
