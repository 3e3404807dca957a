"""How time and memory grow: with clients, clients a round, model size and devices.

    python benchmarks/growth.py [--quick] [--data cifar10.npz] [--limit 120]

FedCode with fixed coding and K = 64. Every point runs in a process of its own, because peak memory
is that of a process, and without JAX's compilation cache, so that compiling is what it says. One
round warms up; the seconds of a round are the median of those that follow, each with its evaluation
on 500 test samples; the CPU seconds beside it do not suffer where other work has the cores. A point
that takes longer than the limit is reported as skipped. One point has a name, "10,000 clients of
ResNet-20": 100 a round, 5 images a client, CIFAR-10's shapes, and its images if --data names a file
of them; it may take five times the limit. Writes benchmarks/results/growth-cpu.json and the same as
a picture; with --quick, which leaves out the large points, growth-quick-cpu.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

NAMED = "10,000 clients of ResNet-20"
TEST_SAMPLES = 500
LIMIT_BYTES = 12e9  # of the named point: what a laptop with 16 GB can give
CIFAR_SHAPE = (32, 32, 3)
_TINY = {"local.epochs": 1, "local.batch_size": 10, "data.name": "synthetic"}


def points_of(quick: bool, data: str | None) -> list[dict[str, Any]]:
    """The points: axis, place on it (None: measured), and what differs from the default config."""
    points: list[dict[str, Any]] = []

    def add(axis: str, x: int | None, name: str, changes: dict[str, Any], **more: Any) -> None:
        points.append({"axis": axis, "x": x, "name": name, "changes": {**_TINY, **changes}, **more})

    for clients in (10, 100, 1000) if quick else (10, 100, 1000, 10_000):
        changes = {
            "partition.num_clients": clients,
            "clients_per_round": 10,
            "data.train_size": 10 * clients,
        }
        add("clients", clients, f"{clients:,} clients", changes)
    for cohort in (10, 30, 100) if quick else (10, 30, 100, 300, 1000):
        changes = {
            "model.name": "mlp",
            "partition.num_clients": 1000,
            "clients_per_round": cohort,
            "data.train_size": 10_000,
        }
        add("cohort", cohort, f"{cohort:,} clients a round", changes)
    for model in ("mlp", "cnn", "cnn_pfl") if quick else ("mlp", "cnn", "cnn_pfl", "resnet20"):
        changes = {
            "model.name": model,
            "partition.num_clients": 100,
            "clients_per_round": 10,
            "data.shape": CIFAR_SHAPE,
            "data.train_size": 2000,
        }
        add("parameters", None, model, changes)
    for devices in (1, 2) if quick else (1, 2, 4, 8):
        changes = {
            "partition.num_clients": 64,
            "data.train_size": 64 * 100,
            "execution.devices": devices,
        }
        add("devices", devices, f"{devices} device(s)", changes, devices=devices)
    source = (
        {"data.name": "npz", "data.path": (data,)}
        if data
        else {"data.shape": CIFAR_SHAPE, "data.train_size": 50_000}
    )
    changes = {
        "model.name": "resnet20",
        "partition.num_clients": 10_000,
        "clients_per_round": 100,
        "local.batch_size": 5,
        **source,
    }
    if not quick:
        add("named", None, NAMED, changes)
    return points


def measured(point: dict[str, Any], rounds: int) -> dict[str, Any]:
    """What a worker finds: builds the experiment of a point, and times its rounds."""
    import jax

    from fedcode_jax import experiment, models
    from fedcode_jax.bench.machine import peak_resident_bytes
    from fedcode_jax.bench.timing import cache_reads
    from fedcode_jax.config import ExperimentConfig, replace
    from fedcode_jax.devices import compiled_memory, tree_bytes
    from fedcode_jax.simulation import EvaluationData

    bare, began = peak_resident_bytes(), time.perf_counter()
    with cache_reads() as reads:
        built = experiment.build(replace(ExperimentConfig(), point["changes"]))
        dataset, program = built.dataset, built.program
        test = EvaluationData.from_arrays(
            dataset.test_x[:TEST_SAMPLES],
            dataset.test_y[:TEST_SAMPLES],
            dataset.mean,
            dataset.std,
            devices=program.plan.devices,
        )
        program = dataclasses.replace(program, test=test)
        state = jax.block_until_ready(program.start(built.weights))
        startup = time.perf_counter() - began
        kept = tree_bytes(state.store)
        seconds, cpu_seconds = [], []
        for number in range(rounds + 1):
            began, cpu_began = time.perf_counter(), time.process_time()
            state, output = jax.block_until_ready(program.advance(state, 1))
            if number:
                seconds.append(time.perf_counter() - began)
                cpu_seconds.append(time.process_time() - cpu_began)
    return {
        "x": models.count_parameters(built.weights) if point["x"] is None else point["x"],
        "seconds_a_round": statistics.median(seconds),
        "cpu_seconds_a_round": statistics.median(cpu_seconds),
        "compile_seconds": program.compiled.seconds,
        "startup_seconds": startup,
        "peak_resident_bytes": peak_resident_bytes(),
        "resident_bytes_before": bare,
        "compiled_bytes_per_device": program.compiled.memory_bytes,
        "compiled_memory_per_device": compiled_memory(program.compiled.segments[1, False, False]),
        "kept_by_clients_bytes": kept,
        "parameters": models.count_parameters(built.weights),
        "clients": len(program.sizes),
        "clients_a_round": program.cohort,
        "largest_client": program.max_size,
        "data": built.info["data"],
        "plan": str(program.plan),
        "devices": program.plan.devices,
        "compilation_cache_reads": len(reads),
        "train_loss": float(output.metrics.train_loss[0]),
        "load_average": os.getloadavg()[0],
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def in_process(point: dict[str, Any], rounds: int, limit: float) -> dict[str, Any]:
    """Measures a point in a new process, or says why not."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    if "devices" in point:
        environment["JAX_NUM_CPU_DEVICES"] = str(point["devices"])
    command = [sys.executable, __file__, "--worker", json.dumps(point), "--rounds", str(rounds)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"not done in {limit:g} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"skipped": f"exit status {done.returncode}: {lines[-1] if lines else 'no message'}"}
    return json.loads(done.stdout.splitlines()[-1])


def line_of(point: dict[str, Any]) -> str:
    """A point for people."""
    if "skipped" in point:
        return f"{point['axis']:>10}  {point['name']:<28} skipped: {point['skipped']}"
    return (
        f"{point['axis']:>10}  {point['name']:<28} {point['parameters']:>9,} parameters"
        f"  {point['seconds_a_round']:8.4f} s a round"
        f" (CPU {point['cpu_seconds_a_round']:.4f})  {point['compile_seconds']:6.1f} s compiling"
        f"  {point['peak_resident_bytes'] / 1e9:6.2f} GB peak"
        f"  {point['compiled_bytes_per_device'] / 1e9:6.3f} GB a device by the compiler"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small points only, fewer rounds")
    parser.add_argument("--data", help="npz of CIFAR-10 for the named point; else synthetic")
    parser.add_argument("--limit", type=float, default=120, help="seconds that a point may take")
    parser.add_argument("--rounds", type=int, help="timed rounds of a point")
    parser.add_argument("--only", help="one axis only, or named; prints and writes nothing")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 10)  # ten are a period of the schedule
    if options.worker:
        print(json.dumps(measured(json.loads(options.worker), rounds)))
        return

    points = points_of(options.quick, options.data)
    if options.only:
        points = [point for point in points if point["axis"] == options.only]
    too_long: set[str] = set()
    done = []
    for point in points:
        axis = point["axis"]
        if axis in too_long:
            found = {"skipped": f"the one before it took longer than {options.limit:g} s"}
        else:
            found = in_process(point, rounds, options.limit * (5 if axis == "named" else 1))
            # Devices are not ordered by what they cost; on the other axes it only gets longer.
            if "not done" in found.get("skipped", "") and axis != "devices":
                too_long.add(axis)
        done.append({**point, **found})
        print(line_of(done[-1]), flush=True)
    if options.only:
        return
    # Imported last: a process begins with the peak memory of the one that starts it, and this
    # one is to be small meanwhile.
    from growth_plot import draw
    from recording import write

    cores = os.cpu_count()
    result = {
        "what": "seconds, bytes; each point a process of its own, one round of warm-up",
        "base": "FedCode, fixed coding, K = 64, one local epoch, batches of 10 (named point: 5)",
        "test_samples": TEST_SAMPLES,
        "compilation_cache": "off",
        "timed_rounds": rounds,
        "limit_seconds": options.limit,
        "notes": [
            f"{cores} cores, one device each unless the axis is devices; more devices than cores "
            "gain nothing",
            "compile_seconds is of the program of a round; startup_seconds of everything before it "
            "(data, partition, and compiling what makes the initial weights and the first state)",
            "peak_resident_bytes has compiling and the loading of the data in it; "
            "resident_bytes_before is the process with JAX imported and nothing built",
            "cpu_seconds are of all threads together: where they are much less than seconds times "
            "busy cores, other work had the cores",
            "load_average is of the last minute at the end of a point, its own load included",
        ],
        "points": done,
    }
    name = "growth-quick-cpu" if options.quick else "growth-cpu"
    path = write(name, result)
    draw(done, cores, path.with_suffix(".png"))
    print(f"written to {path} and {path.with_suffix('.png').name}")
    for point in done:
        peak = point.get("peak_resident_bytes")
        if point["name"] == NAMED and peak:
            verdict = "within" if peak <= LIMIT_BYTES else "MORE THAN"
            print(f"{NAMED}: {peak / 1e9:.2f} GB peak, {verdict} {LIMIT_BYTES / 1e9:.0f} GB")


if __name__ == "__main__":
    main()
