"""How a process joins the others of its run, before JAX is used."""

import inspect
import os
import re
import threading
from collections.abc import Mapping
from typing import Any

import jax

from fedcode_jax.devices import claim_cores
from fedcode_jax.errors import ConfigError


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = 300,
) -> None:
    """Joins the other processes of a run; afterwards ``jax.devices()`` are those of all.

    Args:
      coordinator: HOST:PORT at which process 0 can be reached; None, like the two below, under
        SLURM, Open MPI or GKE, or on a TPU pod, which tell JAX themselves.
      num_processes: how many there are.
      process_id: the number of this one, from 0.
      timeout: seconds to wait for the others.

    Raises:
      ConfigError: a setting that cannot be used; no cluster was found; or the others did not
        come in time.
    """
    check_explicit(coordinator, num_processes, process_id)
    # Without preemption service: it would take SIGTERM, which is to end the process. Before JAX 0.8
    # it cannot be left out.
    if hasattr(jax.config, "jax_enable_preemption_service"):
        jax.config.update("jax_enable_preemption_service", False)
    failed: list[Exception] = []

    def wait() -> None:
        try:
            jax.distributed.initialize(
                coordinator_address=coordinator,
                num_processes=num_processes,
                process_id=process_id,
                local_device_ids=own_gpus(os.environ),
                initialization_timeout=int(timeout) + 3600,
                **_patience(),
            )
        except Exception as error:
            failed.append(error)

    # JAX ends the process itself, by an abort, if the others do not come. So it waits longer than
    # we do, in a thread that does not outlive us.
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(timeout)
    where = f"coordinator: {coordinator!r}" if coordinator else "distributed"
    if waiting.is_alive():
        raise ConfigError(
            f"{where}: the processes did not find each other in {timeout:g} s; start all of "
            "them, and let process 0 be reached by all others"
        )
    if failed:
        reason = str(failed[0]).partition("\n")[0]
        if "should be defined" in reason or "must be defined" in reason:
            raise ConfigError(
                "distributed: no cluster was found (SLURM, Open MPI, a TPU pod or GKE); give "
                "--coordinator HOST:PORT, --num-processes and --process-id"
            ) from failed[0]
        raise ConfigError(f"{where}: the processes cannot be joined ({reason})") from failed[0]
    claim_cores()


def _patience() -> dict[str, Any]:
    """How long a process that has ended waits for the others, in seconds, where JAX can be told."""
    wanted = {"shutdown_timeout_seconds": 60}
    known = inspect.signature(jax.distributed.initialize).parameters
    return {name: seconds for name, seconds in wanted.items() if name in known}


def check_explicit(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Checks the settings of ``join`` that are given by hand.

    Raises:
      ConfigError: one is missing beside the others, or has no sense.

    Example:
      >>> check_explicit("node1:9876", 4, None)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: process_id: None cannot be used beside the others; give
        --coordinator, --num-processes and --process-id, or --distributed alone
    """
    given = {
        "coordinator": coordinator, "num_processes": num_processes, "process_id": process_id,
    }  # fmt: skip
    if all(value is None for value in given.values()):
        return
    if coordinator is None or num_processes is None or process_id is None:
        missing = next(name for name, value in given.items() if value is None)
        raise ConfigError(
            f"{missing}: None cannot be used beside the others; give --coordinator, "
            "--num-processes and --process-id, or --distributed alone"
        )
    if not re.fullmatch(r".+:[0-9]{1,5}", coordinator):
        raise ConfigError(
            f"coordinator: {coordinator!r} cannot be used; it must be HOST:PORT, of process 0"
        )
    if num_processes < 1:
        raise ConfigError(f"num_processes: {num_processes} cannot be used; it must be at least 1")
    if not 0 <= process_id < num_processes:
        raise ConfigError(
            f"process_id: {process_id} cannot be used; it must be from 0 to "
            f"{num_processes - 1}, as num_processes is {num_processes}"
        )


def own_gpus(environment: Mapping[str, str]) -> list[int] | None:
    """The GPUs of a SLURM task, as numbers among those that it sees.

    JAX takes one GPU a task, that of the task's number on its node. This is another one, or
    none, where SLURM shows a task its own GPUs alone, as ``--gpus-per-task`` does; and too few
    where a task has a node to itself.

    Args:
      environment: as ``os.environ``.

    Returns:
      The numbers; None where JAX's choice is right, or the user has made one.

    Example:
      >>> own_gpus({"CUDA_VISIBLE_DEVICES": "3", "SLURM_GPUS_PER_TASK": "1"})
      [0]
      >>> own_gpus({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"})
      [0, 1]
      >>> own_gpus({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_TASKS_PER_NODE": "2"})
    """
    seen = environment.get("CUDA_VISIBLE_DEVICES", "")
    if not seen or "JAX_LOCAL_DEVICE_IDS" in environment:
        return None
    count = len(seen.split(","))
    per_task = environment.get("SLURM_GPUS_PER_TASK", "").rpartition(":")[2]  # 1, or a100:1
    alone = re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    bound = per_task.isdigit() and count <= int(per_task)
    return list(range(count)) if alone or bound else None
