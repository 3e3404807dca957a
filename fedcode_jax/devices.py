"""Devices, as the whole house uses them: which there are, what lies where, what has room.

They are those at hand, or those of a `Machine` that is not here, which is then an argument.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from fedcode_jax.accelerators import tell_unused
from fedcode_jax.errors import ConfigError
from fedcode_jax.host import available_memory, granted_cores
from fedcode_jax.targets import Machine, here

CLIENTS = "clients"
"""The mesh axis along which devices share the clients of a round."""

# Newer JAX makes axes explicit where nothing is said: every array's type says where it lies.
_AUTO = (AxisType.Auto,)


def claim_cores() -> None:
    """Makes every core that is granted a device, unless JAX is in use or was told otherwise.

    One client a core is faster than one client on all cores: inside a small convolution there
    is little to share. To be called before anything runs; other backends are not affected. If an
    accelerator is here that JAX does not use, that is logged.

    Raises:
      ConfigError: there is no device of the kind that JAX_PLATFORMS asks for.
    """
    told = getattr(jax.config, "jax_num_cpu_devices", 0) > 0
    if not told and "device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores = granted_cores()
        if cores is not None:
            with contextlib.suppress(RuntimeError):  # JAX has begun
                jax.config.update("jax_num_cpu_devices", cores)
    _begin()
    tell_unused()


def _begin() -> None:
    """Has JAX look for its devices, after which their number stands."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # of CUDA, JAX merely asserts that it is there
        platforms = getattr(jax.config, "jax_platforms", None)
        if not platforms:
            raise
        reason = str(error).partition(" (set JAX_PLATFORMS")[0].replace("\n", " ").rstrip(".")
        raise ConfigError(
            f"JAX_PLATFORMS: {platforms!r} cannot be used; JAX has no such device here"
            + (f" ({reason})" if reason else "")
            + "; unset it, set it to cpu, or install JAX for that device"
        ) from error


def device_count(wanted: int | None, cohort: int, machine: Machine | None = None) -> int:
    """How many devices a run uses: those wanted, or all; never more than clients in a round.

    Args:
      wanted: ``execution.devices``; None for all.
      cohort: M, clients in a round.
      machine: whose devices; None for those at hand.

    Returns:
      At least 1. With several processes it is all devices, because each must take part.

    Raises:
      ConfigError: more than there are, or fewer while several processes take part.

    Example:
      >>> device_count(None, 1)
      1
    """
    if machine is not None:
        there = len(machine.devices)
        if wanted is not None and wanted > there:
            raise ConfigError(
                f"execution.devices: {wanted} cannot be used; {machine.name} has {there} "
                "device(s); name a larger one as the target, such as v5e:4x4"
            )
        return min(wanted or there, cohort)
    there = jax.device_count()
    if wanted is not None and wanted > there:
        raise ConfigError(
            f"execution.devices: {wanted} cannot be used; JAX has {there} "
            f"{here()} device(s) here. On CPU it has as many as the "
            "setting jax_num_cpu_devices said before its first use"
        )
    if jax.process_count() > 1:
        if wanted not in (None, there):
            raise ConfigError(
                f"execution.devices: {wanted}; {jax.process_count()} processes share "
                f"{there} devices and use them all; leave it out"
            )
        return there
    return min(wanted or there, cohort)


def mesh(devices: int, axis: str = CLIENTS, machine: Machine | None = None) -> Mesh:
    """The first ``devices`` devices, of those at hand or of a machine, along one axis."""
    there = jax.devices() if machine is None else machine.devices
    return Mesh(np.array(there[:devices]), (axis,), axis_types=_AUTO)


def axis_of(devices: int, axis: str = CLIENTS) -> AbstractMesh:
    """That many devices along one axis, whichever they are, for ``jax.shard_map``.

    A program is traced without knowing where it will run: its arguments lie there.
    """
    return AbstractMesh((devices,), (axis,), axis_types=_AUTO)


def spread(devices: int, axis: str = CLIENTS, machine: Machine | None = None) -> NamedSharding:
    """The leading axis is cut into equal parts, one a device."""
    return NamedSharding(mesh(devices, axis, machine), PartitionSpec(axis))


def replicated(devices: int, axis: str = CLIENTS, machine: Machine | None = None) -> NamedSharding:
    """Every device has all of it."""
    return NamedSharding(mesh(devices, axis, machine), PartitionSpec())


def lay(tree: Any, sharding: Any) -> Any:
    """Lays arrays on devices, also on those of other processes, which have the same arrays.

    Args:
      tree: a pytree of arrays.
      sharding: where they go, one for all or a tree of them.

    Returns:
      The same tree, of arrays with these shardings.

    Example:
      >>> lay({"a": np.arange(2)}, replicated(1))["a"].tolist()
      [0, 1]
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def one(leaf: Any, where: NamedSharding) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.device_put(leaf, where)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                one(jax.random.key_data(leaf), where), impl=jax.random.key_impl(leaf)
            )
        host = np.asarray(leaf)
        # Not device_put, which has every process gather what all others have, to compare.
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    if isinstance(sharding, NamedSharding):
        return jax.tree.map(lambda leaf: one(leaf, sharding), tree)
    return jax.tree.map(one, tree, sharding)


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays of a pytree, or of their shapes."""
    return sum(leaf_bytes(leaf) for leaf in jax.tree.leaves(tree))


def leaf_bytes(leaf: Any) -> int:
    """Bytes of one array, or of its shape; a key counts 8."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 8 * leaf.size
    return leaf.size * leaf.dtype.itemsize


def free_bytes(machine: Machine | None = None) -> int | None:
    """Memory that one device has left, in bytes: its own, or a core's share of the machine's.

    Args:
      machine: one that is not here, whose devices are empty; None for the one at hand.

    Returns:
      None where the platform does not tell.
    """
    if machine is not None:
        return machine.memory
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    memory = available_memory() if device.platform == "cpu" else None
    return None if memory is None else memory // jax.local_device_count()


def compiled_memory(program: Any) -> dict[str, int] | None:
    """What a compiled program asks of one device.

    Args:
      program: a compiled function.

    Returns:
      Bytes of arguments, of results, of both where they share a buffer, and of what it holds
      meanwhile; ``total`` counts shared buffers once. None where the backend does not tell.

    Example:
      >>> numbers = jax.numpy.zeros(100)
      >>> program = jax.jit(lambda x: x + 1).lower(numbers).compile()
      >>> compiled_memory(program)["total"] >= 800
      True
    """
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    sizes = {
        "arguments": analysis.argument_size_in_bytes,
        "results": analysis.output_size_in_bytes,
        "shared": analysis.alias_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
    }
    total = sizes["arguments"] + sizes["results"] - sizes["shared"] + sizes["temporary"]
    return {**sizes, "total": total}


def chunk_that_fits(found: dict[str, int], chunk: int, free: int) -> int:
    """How many clients side by side have room, if a chunk takes what its clients do.

    Args:
      found: what the program takes, as ``compiled_memory`` gives it.
      chunk: clients side by side in it.
      free: bytes that the device has for its results and for what it holds meanwhile.

    Returns:
      ``chunk`` if that has room, else fewer; 0 for none.

    Example:
      >>> found = {"temporary": 800, "results": 100, "shared": 100}
      >>> chunk_that_fits(found, 8, 800), chunk_that_fits(found, 8, 450)
      (8, 4)
    """
    room = free - (found["results"] - found["shared"])
    if found["temporary"] <= room:
        return chunk
    return int(chunk * max(room, 0) / max(found["temporary"], 1))


def chunk_found(compiled_with: Callable[[int], Any], chunk: int, free: int) -> int:
    """The largest chunk that was found to have room, by compiling smaller ones.

    Args:
      compiled_with: the program of a chunk.
      chunk: at most.
      free: as of ``chunk_that_fits``.

    Returns:
      0 if even one client alone has none.

    Example:
      >>> compiled = lambda c: jax.jit(lambda x: jnp.sort(x) + x[0]).lower(jnp.ones(c)).compile()
      >>> chunk_found(compiled, 8, 10**6), chunk_found(compiled, 8, 0)
      (8, 0)
    """
    while chunk >= 1:
        found = compiled_memory(compiled_with(chunk))
        if found is None:
            return 0
        fits = chunk_that_fits(found, chunk, free)
        if fits == chunk:
            return chunk
        chunk = 1 if chunk > 1 and fits < 1 else fits
    return 0


@contextlib.contextmanager
def told_if_exhausted(chunk: int) -> Iterator[None]:
    """A block in which a device may run out of memory; then the error says what to set.

    Args:
      chunk: clients side by side in what runs.

    Raises:
      ConfigError: the compiler or the device had no room.

    Example:
      >>> with told_if_exhausted(8):
      ...     raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: execution.chunk: 8 client(s) side by side ran out of ...
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        advice = (
            f"half of them take about half as much: set execution.chunk to {chunk // 2}"
            if chunk > 1
            else "no chunk has room: set a smaller local.batch_size or a smaller model"
        )
        raise ConfigError(
            f"execution.chunk: {chunk} client(s) side by side ran out of the device's memory; "
            f"{advice} ({str(error).partition(chr(10))[0][:200]})"
        ) from error


def check_room(
    compiled: Any, chunk: int, compiled_with: Callable[[int], Any] | None = None
) -> None:
    """Refuses a compiled program that its devices have no room for, before it runs.

    Args:
      compiled: the program; its arguments lie on the devices already.
      chunk: clients side by side in it.
      compiled_with: the program of another chunk, to be sure of the one that is named; None to go
        by proportion.

    Raises:
      ConfigError: says what it needs, what there is, and which chunk has room.
    """
    free, found = free_bytes(), compiled_memory(compiled)
    if free is None or found is None:
        return
    fits = chunk_that_fits(found, chunk, free)
    if fits == chunk:
        return
    if compiled_with is not None and chunk > 1:
        fits = chunk_found(compiled_with, max(fits, 1), free)
    needed = found["temporary"] + found["results"] - found["shared"]
    advice = (
        f"set execution.chunk to {fits}"
        if fits >= 1 and chunk > 1
        else "no chunk has room: set a smaller local.batch_size, fewer clients_per_round or a "
        "smaller model"
    )
    raise ConfigError(
        f"execution.chunk: {chunk} client(s) side by side need {needed / 1e9:.2f} GB on a device "
        f"that has {free / 1e9:.2f} GB free; {advice}"
    )
