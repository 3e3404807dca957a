"""Compiles an experiment for a machine that is not here, and says what it would take there."""

import contextlib
import math
import os
import re
import time
from collections.abc import Iterator
from typing import Any, Unpack

import jax

from fedcode_jax import experiment, randomness
from fedcode_jax.bench import hlo
from fedcode_jax.bench.kernels import Block, Loop, blocks
from fedcode_jax.bench.machines import machine as machine_of
from fedcode_jax.bench.parts_elsewhere import ROUND, STEP, Part, parts_elsewhere, steps_of_round
from fedcode_jax.clients.training import BATCH_LOSS
from fedcode_jax.config import ExperimentConfig, to_dict
from fedcode_jax.devices import chunk_that_fits, compiled_memory
from fedcode_jax.results import installed_versions
from fedcode_jax.simulation import Program
from fedcode_jax.targets import Machine

_NO_TILES = "Couldn't find output tile sizes"


def compile_for(
    config: ExperimentConfig, target: str | Machine, **given: Unpack[experiment.Given]
) -> dict[str, Any]:
    """Compiles an experiment and its parts for another machine; nothing runs.

    Args:
      config: the experiment.
      target: the machine, as of ``machines.machine``; or one of your own description.
      **given: parts of your own, as of ``fedcode_jax.run``.

    Returns:
      What a JSON file can hold: the plan that the rules choose for that machine, in ``info``;
      whether a round fits; its local steps; and for each part its kernels, bytes, FLOP, memory,
      the compiler's own figures, seconds to compile, and what no round may have (``offences``).

    Raises:
      ConfigError: an unknown machine, a package that is missing, or settings that do not fit.
      DataError: the data set is missing or malformed.
    """
    wanted = config.execution.devices
    machine = machine_of(target, wanted) if isinstance(target, str) else target
    built = experiment.build(config, machine=machine, **given)
    program = built.program
    with _nothing_kept():
        parts = {
            name: _account(part, program)
            for name, part in parts_elsewhere(program, built.weights).items()
        }
    _take_the_loop(parts)
    return {
        "what": "an experiment compiled for a machine that is not here, part by part; "
        "nothing was run",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": installed_versions(machine.name),
        "cores": os.cpu_count(),
        "optimization_level": _optimization_level(),
        "config": to_dict(built.config),
        "info": built.info,
        "machine": {
            "name": machine.name,
            "target": machine.target,
            "devices": program.plan.devices,
            "memory_bytes": machine.memory,
        },
        "room": room(parts[ROUND], program.plan.chunk, machine.memory),
        "steps": steps_of_round(program),
        "parts": parts,
    }


def compiled_elsewhere(lowered: Any, program: Program) -> Any:
    """Compiles a program for the machine that it was lowered for.

    Where XLA generates its own kernel of a small matrix product, it tries on the card which sizes
    of tiles work. Without a card it takes one, and fails if that does not fit: then products are
    left to the library.
    """
    options = program.plan.compiler_options
    try:
        return lowered.compile(options)
    except jax.errors.JaxRuntimeError as error:
        if _NO_TILES not in str(error):
            raise
        return lowered.compile({**(options or {}), "xla_gpu_enable_triton_gemm": False})


@randomness.standardised
def _account(part: Part, program: Program) -> dict[str, Any]:
    """Compiles a part, and reads what the compiler made of it."""
    began = time.perf_counter()
    lowered = part.lower()
    traced = time.perf_counter()
    found: dict[str, Any] = {"flop": part.flop, "trace_seconds": traced - began}
    try:
        compiled = compiled_elsewhere(lowered, program)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        seconds = time.perf_counter() - traced
        return {**found, "compile_seconds": seconds, "no_room": str(error).partition("\n")[0]}
    found["compile_seconds"] = time.perf_counter() - traced
    module = hlo.parse(compiled.as_text())
    block = blocks(module)
    step = block.loop_of(BATCH_LOSS)
    return {
        **found,
        "memory_bytes": compiled_memory(compiled),
        "kernels": block.kernels,
        "bytes": block.bytes,
        "loop_of_steps": None if step is None else _loop(step, 1),
        "open_loops": [_loop(loop, entered) for loop, entered in block.open_loops()],
        "compiler": _own_figures(compiled, block),
        "offences": hlo.offences(module),
    }


def _loop(loop: Loop, entered: int) -> dict[str, Any]:
    return {
        "scope": loop.scope,
        "entered": entered,
        "turns": loop.trips,
        "kernels_a_turn": loop.turn.kernels,
        "bytes_a_turn": loop.turn.bytes,
        "of_steps": loop.turn.has(BATCH_LOSS),
    }


def _own_figures(compiled: Any, block: Block) -> dict[str, float] | None:
    """The compiler's figures, if it gives them and knows the turns of all loops."""
    analysis = compiled.cost_analysis()
    if not analysis or any(loop.trips is None for loop in block.every_loop()):
        return None
    names = {"flop": "flops", "bytes": "bytes accessed", "seconds": "optimal_seconds"}
    found = {name: float(analysis.get(own, math.nan)) for name, own in names.items()}
    return {name: value for name, value in found.items() if math.isfinite(value) and value > 0}


def _take_the_loop(parts: dict[str, dict[str, Any]]) -> None:
    """A local step's kernels are those of its loop in a round, where nothing else is with it."""
    loop, step = parts[ROUND].get("loop_of_steps"), parts[STEP]
    step["alone"] = {name: step.get(name) for name in ("kernels", "bytes")}
    if loop is not None and "kernels" in step:
        step["kernels"], step["bytes"] = loop["kernels_a_turn"], loop["bytes_a_turn"]


def room(part: dict[str, Any], chunk: int, memory: int | None) -> dict[str, Any]:
    """Whether a round has room on a device, and how many clients side by side would.

    Args:
      part: the account of the round.
      chunk: clients side by side in it.
      memory: bytes that a program and its data may fill; None if not known.

    Returns:
      ``fits`` (None if not known), ``needed_bytes``, and ``chunk_that_fits``, 0 for none.

    Example:
      >>> found = {"temporary": 600, "results": 0, "shared": 0, "arguments": 100, "total": 700}
      >>> room({"memory_bytes": found}, 6, 500)
      {'fits': False, 'needed_bytes': 700, 'chunk_that_fits': 4}
    """
    if "no_room" in part:
        sizes = [float(size) for size in re.findall(r"\(([\d.]+)G\)", part["no_room"])]
        scale = sizes[1] / sizes[0] if len(sizes) == 2 else 0.0
        needed = int(sizes[0] * 2**30) if sizes else None
        return {"fits": False, "needed_bytes": needed, "chunk_that_fits": int(chunk * scale)}
    found = part["memory_bytes"]
    if found is None or memory is None:
        needed = None if found is None else found["total"]
        return {"fits": None, "needed_bytes": needed, "chunk_that_fits": None}
    fits = chunk_that_fits(found, chunk, memory - found["arguments"])
    return {"fits": fits == chunk, "needed_bytes": found["total"], "chunk_that_fits": fits}


def _optimization_level() -> str | None:
    """JAX's own setting of how much its compiler does, ``O0`` to ``O3``; None if it is not set."""
    level = str(getattr(jax.config, "jax_optimization_level", "UNKNOWN"))
    return None if level == "UNKNOWN" else level


@contextlib.contextmanager
def _nothing_kept() -> Iterator[None]:
    """Keeps what cannot be loaded here out of JAX's cache of compiled programs."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, math.inf)
    try:
        yield
    finally:
        jax.config.update(name, before)
