"""Measures an experiment on this machine: one record of raw samples and figures."""

import os
import platform
import statistics
import time
from collections.abc import Mapping
from typing import Any, Unpack

import jax
import numpy as np

from fedcode_jax import experiment, randomness
from fedcode_jax.bench.flops import training_flops
from fedcode_jax.bench.machine import peak_resident_bytes, references
from fedcode_jax.bench.parts import PARTS, TRAINING, parts_of, repeated_round
from fedcode_jax.bench.timing import cache_reads, interleaved
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.config import ExperimentConfig, to_dict
from fedcode_jax.devices import compiled_memory
from fedcode_jax.results import installed_versions
from fedcode_jax.simulation import Program, RoundMetrics, State
from fedcode_jax.targets import CPU

ROUND, REST = "round", "the rest"


@randomness.standardised
def measure(
    config: ExperimentConfig, repeats: int = 5, **given: Unpack[experiment.Given]
) -> dict[str, Any]:
    """Builds an experiment, and times its first round, the parts of it, and this machine.

    Args:
      config: the experiment.
      repeats: timed calls of everything, in turns.
      **given: parts of your own, as of ``fedcode_jax.run``.

    Returns:
      What a JSON file can hold. ``seconds`` has every sample; ``figures`` what follows from
      their medians, in seconds, FLOP, bytes and shares of 1; ``counts`` what they are of.

    Raises:
      ConfigError: settings that do not fit the data, or each other.
      DataError: the data set is missing or malformed.
    """
    began = time.perf_counter()
    with cache_reads() as reads:
        built = experiment.build(config, **given)
    program = built.program
    before = jax.block_until_ready(program.start(built.weights))
    startup = time.perf_counter() - began

    one_round = repeated_round(program, before)
    if not program.compiled.segments:  # not even by trial rounds
        reads.clear()
    with cache_reads() as more_reads:
        after, output = jax.block_until_ready(one_round.run(*one_round.inputs()))
    # Before anything else takes memory: what a run would have taken by now.
    peak = peak_resident_bytes() if program.plan.target == CPU else None
    memory = {
        "round_per_device": compiled_memory(_compiled_round(program)),
        "process_peak_resident": peak,
    }
    parts = parts_of(program, built.weights, before, after)
    machine = references(program.plan)
    seconds = interleaved(
        {ROUND: one_round, **parts.timed, **{name: ref.timed for name, ref in machine.items()}},
        repeats,
    )
    counts = {
        **_work_of_round(program, after, jax.tree.map(lambda leaf: leaf[0], output.metrics)),
        "flop_per_step": training_flops(
            program.training, program.model, built.weights, program.data.x
        ).training,
        "bytes_moved": parts.moved,
        "product_flop": machine["product"].amount,
        "copy_bytes": machine["copy"].amount,
    }
    device = built.info["device"]
    return {
        "what": "seconds of a round with its evaluation, of its parts alone and of two plain "
        "programs, calls interleaved",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": installed_versions(device),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "config": to_dict(built.config),
        "info": built.info,
        "references": {name: ref.what for name, ref in machine.items()},
        "repeats": repeats,
        "startup_seconds": startup,
        "compile_seconds": program.compiled.seconds,
        "compilation_cache_reads": len(reads) + len(more_reads),
        "memory_bytes": memory,
        "counts": counts,
        "figures": figures(seconds, counts),
        "seconds": seconds,
    }


def figures(seconds: Mapping[str, list[float]], counts: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the medians of the samples.

    Args:
      seconds: samples of the round, its parts, the product and the copy.
      counts: as in the record of ``measure``.

    Returns:
      Medians and rates. The shares of the parts and of the rest are of the round and sum to 1;
      the rest is negative if the parts alone took longer than the round.
    """
    median = {name: statistics.median(samples) for name, samples in seconds.items()}
    whole = median[ROUND]
    shares = {name: median[name] / whole for name in PARTS}
    shares[REST] = 1 - sum(shares.values())
    return {
        "median_seconds": median,
        "shares_of_round": shares,
        "clients_per_second": counts["clients"] / whole,
        "samples_per_second": counts["samples"] / whole,
        "steps_per_second": counts["needed_steps"] / whole,
        "training_flop_per_second": (
            counts["flop_per_step"] * counts["computed_steps"] / median[TRAINING]
        ),
        "product_flop_per_second": counts["product_flop"] / median["product"],
        "bytes_per_second": {
            name: moved / median[name] for name, moved in counts["bytes_moved"].items()
        },
        "copy_bytes_per_second": counts["copy_bytes"] / median["copy"],
        "padding_waste": counts["executed_steps"] / counts["needed_steps"] - 1,
    }


def _work_of_round(program: Program, after: State, metrics: RoundMetrics) -> dict[str, int]:
    """Counts of a round.

    ``executed_steps`` are those that the devices were occupied with, as a run reports them;
    ``computed_steps`` leave out the ones for which a device stood idle.
    """
    training, sizes = program.training, program.data.sizes[np.asarray(after.contacted)]
    steps = np.sort(np.asarray(num_steps(sizes, training.epochs, training.batch_size)))[::-1]
    chunk = min(program.plan.chunk, len(steps))
    computed = int(steps[::chunk].sum()) * chunk
    if program.plan.layout == "packed":  # slots compute, whether they have a client or not
        computed = int(metrics.executed_steps)
    return {
        "clients": program.cohort,
        "samples": training.epochs * int(np.sum(metrics.num_samples)),
        "needed_steps": int(metrics.needed_steps),
        "executed_steps": int(metrics.executed_steps),
        "computed_steps": computed,
    }


def _compiled_round(program: Program) -> Any:
    """The segment of one round that ``Program.advance`` has compiled."""
    return program.compiled.segments[1, False, False]
