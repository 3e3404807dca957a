"""The devices that share the clients of a round: one mesh axis, ``clients``."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fedcode_jax.errors import ConfigError

AXIS = "clients"


def claim_cores() -> None:
    """Makes every core of the CPU a device, unless JAX is in use or was told otherwise.

    One client a core is faster than one client on all cores: inside a small convolution there
    is little to share. To be called before anything runs; other backends are not affected.
    """
    if getattr(jax.config, "jax_num_cpu_devices", 0) > 0 or "device_count" in os.environ.get(
        "XLA_FLAGS", ""
    ):
        return
    try:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    except (RuntimeError, AttributeError):  # JAX has begun; or a system without affinities
        return


def device_count(wanted: int | None, cohort: int) -> int:
    """How many devices a run uses: those wanted, or all; never more than clients in a round.

    Args:
      wanted: ``execution.devices``; None for all.
      cohort: M, clients in a round.

    Returns:
      At least 1. With several processes it is all devices, because each must take part.

    Raises:
      ConfigError: more than there are, or fewer while several processes take part.

    Example:
      >>> device_count(None, 1)
      1
    """
    there = jax.device_count()
    if wanted is not None and wanted > there:
        raise ConfigError(
            f"execution.devices: {wanted} cannot be used; JAX has {there} "
            f"{jax.default_backend()} device(s) here. On CPU it has as many as the "
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


def client_mesh(devices: int) -> Mesh:
    """The first ``devices`` devices, along the axis ``clients``."""
    return Mesh(np.array(jax.devices()[:devices]), (AXIS,))


def spread(devices: int) -> NamedSharding:
    """The leading axis is cut into equal parts, one a device."""
    return NamedSharding(client_mesh(devices), PartitionSpec(AXIS))


def replicated(devices: int) -> NamedSharding:
    """Every device has all of it."""
    return NamedSharding(client_mesh(devices), PartitionSpec())


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
            return jax.random.wrap_key_data(one(jax.random.key_data(leaf), where))
        host = np.asarray(leaf)
        # Not device_put, which has every process gather what all others have, to compare.
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    if isinstance(sharding, NamedSharding):
        return jax.tree.map(lambda leaf: one(leaf, sharding), tree)
    return jax.tree.map(one, tree, sharding)


def deal(chunks: int, devices: int) -> np.ndarray:
    """Which of the chunks, sorted by their work, each device runs: there and back again.

    Args:
      chunks: how many there are.
      devices: how many share them.

    Returns:
      i32[devices, ceil(chunks / devices)]; numbers from ``chunks`` on stand for none.

    Example:
      >>> deal(5, 2).tolist()
      [[0, 3, 4], [1, 2, 5]]
    """
    rows = np.arange(-(-chunks // devices) * devices, dtype=np.int32).reshape(-1, devices)
    rows[1::2] = rows[1::2, ::-1]
    return rows.T


def places(clients: int, chunk: int, devices: int) -> np.ndarray:
    """Which of the clients of a round, sorted by their work, runs where.

    Args:
      clients: how many there are.
      chunk: clients side by side on a device.
      devices: that share them.

    Returns:
      i32[devices, chunks of a device, clients of a chunk]; -1 for idle places.

    Example:
      >>> places(5, 2, 2).tolist()
      [[[0, 1], [-1, -1]], [[2, 3], [4, -1]]]
    """
    chunk = min(chunk, clients)
    ranks = deal(-(-clients // chunk), devices)[:, :, None] * chunk + np.arange(chunk)
    return np.where(ranks < clients, ranks, -1)
