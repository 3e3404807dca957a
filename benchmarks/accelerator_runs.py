"""The parts of ``accelerator.py`` that run experiments and say how long, and in how much memory."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from accelerator_checks import SMALL, Found, Size, digits_config, points

import fedcode_jax
from fedcode_jax import experiment
from fedcode_jax.bench import measure
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.devices import compiled_memory, free_bytes

PUBLISHED = {
    "seed": 42,
    "rounds": 100,
    "model.name": "resnet20",
    "partition.num_clients": 10,
    "local.epochs": 4,
    "local.batch_size": 128,
}
"""The published experiment on CIFAR-10: Adam at 1e-3, K = 64, schedule 2:5:2: the defaults."""


def milliseconds(samples: list[float]) -> str:
    """Median and range."""
    low, mid, high = (1e3 * f(samples) for f in (min, statistics.median, max))
    return f"{mid:,.2f} ms ({low:,.2f} to {high:,.2f})"


def on_images(
    size: Size, changes: dict[str, Any], *, train: int = 50_000, **kept: Any
) -> ExperimentConfig:
    """An experiment on CIFAR-10's images, or on others of their shape.

    Args:
      size: a smoke run makes it small.
      changes: from the default experiment.
      train: images, where they are not CIFAR-10's.
      **kept: further changes, which a smoke run keeps.
    """
    shape = {"data.shape": (32, 32, 3), "data.train_size": train, "data.test_size": train // 5}
    source = {"data.name": "npz", "data.path": (size.data,)} if size.data else shape
    if size.smoke:
        few = {"clients_per_round": None, "rounds": min(2, changes.get("rounds", 2))}
        source, changes = {}, {**changes, **few, **SMALL}
    return replace(ExperimentConfig(), {"data.name": "synthetic", **source, **changes, **kept})


def default(size: Size) -> Iterator[Found]:
    """FedCode's published default, as far as the time goes, and then a round of it by parts."""
    config = on_images(size, PUBLISHED, **{"algorithm.name": "fedcode"})
    built = experiment.build(config)
    program, kind = built.program, "small" if size.smoke else "published"
    what = f"FedCode's {kind} default, {config.model.name}, {config.rounds} rounds"
    state, seconds = program.start(built.weights), []
    step = min(10, config.rounds)
    for done in range(step, config.rounds + 1, step):
        began = time.perf_counter()
        state, output = jax.block_until_ready(program.advance(state, step))
        seconds.append(time.perf_counter() - began)
        accuracy = float(output.score.accuracy)
        rest = seconds[1:] or seconds
        each = sum(rest) / len(rest) / step
        compiling = program.compiled.seconds
        yield Found(
            what,
            f"{done} of {config.rounds} rounds in {sum(seconds):.1f} s, of it {compiling:.1f} s "
            f"compiling; {1e3 * each:,.1f} ms a round; accuracy {100 * accuracy:.1f} %",
            {"seconds_by_call": seconds, "rounds_a_call": step, "accuracy": accuracy}
            | {"plan": str(program.plan), "data": built.info["data"], "compile_seconds": compiling},
        )
    record = measure(on_images(size, PUBLISHED), 1 if size.smoke else 5)
    shares = record["figures"]["shares_of_round"]
    figure = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    yield Found("where a round of it goes", figure, record)


def sweep(size: Size) -> Iterator[Found]:
    """A sweep of 64 against the same experiments one after another."""
    side = 2 if size.smoke else 8
    config = digits_config() if not size.smoke else on_images(size, {})
    config = replace(config, {"rounds": 2 if size.smoke else 100, "eval_every": 10})
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(3e-4, 3e-3, side)]
    axes = {"seed": list(range(side)), "local.learning_rate": rates}
    seconds: dict[str, list[float]] = {"together": [], "alone": []}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = call()
        seconds[name].append(time.perf_counter() - began)
        return result

    for _ in range(2):  # the second has its programs on disk
        result = timed("together", lambda: fedcode_jax.sweep(config, axes))
    count = len(result.runs)
    status = [run.summary["status"] for run in result.runs].count("completed")
    what = f"a sweep of {count}, {config.rounds} rounds"
    first, *_, second = seconds["together"]
    figure = f"{second:.1f} s (the first time {first:.1f} s), {status} completed"
    yield Found(what, figure, {"seconds": seconds})
    for seed in range(2 if size.smoke else 5):
        one = replace(config, {"seed": seed})
        timed("alone", lambda one=one: fedcode_jax.run(one))
    alone = statistics.median(seconds["alone"][1:])
    figure += f"; one after another {alone:.2f} s each: {count * alone / second:.1f} times as long"
    yield Found(what, figure, {"seconds": seconds})


def precision(size: Size) -> Iterator[Found]:
    """Seconds and accuracy of a round of local training in each precision."""
    import precision as tables

    changes = {"model.name": "resnet20", "local.batch_size": 128, "local.epochs": 1}
    config = on_images(size, {**changes, "algorithm.name": "fedavg"})
    precisions = ("float32",) if size.smoke else tuple(tables.PRECISIONS)
    for name in precisions:
        built = experiment.build(replace(config, {"execution.precision": name}))
        program, state, seconds = built.program, built.program.start(built.weights), []
        for _ in range(3 if size.smoke else 6):
            began = time.perf_counter()
            state, output = jax.block_until_ready(program.advance(state, 1))
            seconds.append(time.perf_counter() - began)
        loss = float(output.metrics.train_loss[-1])
        figure = f"{milliseconds(seconds[1:])}; loss {loss:.4f} after {len(seconds)}"
        yield Found(
            f"a round of {config.model.name}, {name}",
            figure,
            {"seconds": seconds[1:], "loss": loss},
        )
        jax.clear_caches()
    base = replace(digits_config(), {"rounds": 20})
    if size.smoke:
        base = config
    for name in precisions:
        changes = {"algorithm.name": "fedcode", "execution.precision": name}
        changes |= SMALL if size.smoke else {}
        runs = tables.runs_of(replace(base, changes), 1 if size.smoke else 3)
        accuracies = [run["final_accuracy"] for run in runs]
        found = {"accuracies": accuracies}
        yield Found(
            f"{changes['algorithm.name']}, {base.rounds} rounds, {name}", points(accuracies), found
        )


def memory(size: Size) -> Iterator[Found]:
    """The peak of the device against what its compiled program is said to need."""
    changes = {"model.name": "resnet20", "local.batch_size": 32, "local.epochs": 1}
    for chunk in (2,) if size.smoke else (1, 2, 5, 10):  # upwards: the peak is of the process
        chosen = {"execution.chunk": chunk, "execution.client_axis": "vmap"}
        config = on_images(size, {**changes, **chosen}, train=5000)
        config = replace(config, {"execution.devices": 1})
        built = experiment.build(config)
        state = built.program.start(built.weights)
        jax.block_until_ready(built.program.advance(state, 1))
        account = compiled_memory(built.program.compiled.segments[1, False, False])
        stats = jax.local_devices()[0].memory_stats() or {}
        peak = stats.get("peak_bytes_in_use")
        said = f"{account['total'] / 1e9:.3f} GB" if account else "not told"
        told = "no peak told by this device" if peak is None else f"{peak / 1e9:.3f} GB at the peak"
        ratio = f", {peak / account['total']:.2f} of it" if peak and account else ""
        yield Found(
            f"memory of {config.algorithm.name}, {config.model.name}, {chunk} side by side",
            f"{said} by the account; {told}{ratio}",
            {"account": account, "memory_stats": stats, "free_bytes": free_bytes()},
        )
