"""What FedCode and its controls come to, to the last bit: ``figures.json`` holds it.

    python tests/golden/figures.py [--write] [CASE ...]

Says which cases differ from the file, or writes them into it. Rounding differs between
processors and versions of JAX, so the file says what made it, and elsewhere figures are only to
be near.
"""

import argparse
import hashlib
import json
import pathlib
import platform
import sys

import jax
import numpy as np

import fedcode_jax
from fedcode_jax import experiment
from fedcode_jax.config import ExperimentConfig, replace

PATH = pathlib.Path(__file__).with_name("figures.json")
ALGORITHMS = ("fedcode", "fedavg", "skip", "weight_clustering", "fedavg_every", "local_only")

DEFAULTS = {f"{name}, as by default": {"algorithm.name": name} for name in ALGORITHMS}

_SMALL = {
    "rounds": 12,
    "model.name": "mlp",
    "partition.name": "dirichlet",
    "partition.num_clients": 6,
    "clients_per_round": 4,
    "local.epochs": 1,
}
_CODED = {"algorithm.num_clusters": 16}
_VARIANTS: dict[str, dict] = {
    **{name: {"algorithm.name": name} for name in ALGORITHMS},
    "conditional": {"algorithm.coding": "conditional"},
    "at a price": {"algorithm.coding": "adaptive", "algorithm.rate_weight": 1e-2},
    "rank_mean": {"algorithm.merge": "rank_mean"},
    "everything": {"algorithm.groups": "everything", "algorithm.coding": "entropy"},
    "blocks": {"algorithm.block": 2},
    "layers": {"algorithm.groups": "layers"},
    "drift": {"schedule.name": "drift"},
    "drift by sketches": {"schedule.name": "drift", "schedule.measure": "sketch"},
    "budget": {"schedule.name": "budget", "schedule.budget_mb": 0.3, "clients_per_round": None},
    "batch norm": {"model.norm": "batch", "model.name": "cnn"},
    "side by side": {"execution.chunk": 2},
}
_FLOATS = ("fedavg", "fedavg_every", "local_only")
SMALL = {
    f"small, {name}": {**_SMALL, **({} if name in _FLOATS else _CODED), **changes}
    for name, changes in _VARIANTS.items()
}

SWEPT = "small, swept"
"""The same as a sweep over two seeds."""

_TIMED = ("wall_seconds", "compile_seconds", "to_accuracy", "plan", "padding_waste")
_COUNTED = ("status", "rounds", "total_uplink_bytes", "total_downlink_bytes")


def machine() -> dict[str, str]:
    """What rounding depends on."""
    flags = ""
    if sys.platform == "linux":
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        flags = "\n".join(sorted({line for line in lines if line.startswith(("flags", "model"))}))
    return {
        "jax": jax.__version__,
        "processor": hashlib.sha256(flags.encode()).hexdigest()[:12] + f" {platform.machine()}",
        "devices": str(jax.device_count()),
    }


def figures(name: str) -> dict:
    """The figures of a case: of its rounds, its summary, and its weights as a hash."""
    if name == SWEPT:
        config = replace(ExperimentConfig(), SMALL["small, fedcode"])
        runs = fedcode_jax.sweep(config, {"seed": [0, 1]}).runs
        return {"runs": [_of(run.records, run.summary) for run in runs]}
    config = replace(ExperimentConfig(), {**DEFAULTS, **SMALL}[name])
    result = experiment.run(config, wire_check=True)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(result.weights):
        digest.update(np.asarray(leaf).tobytes())
    return {**_of(result.records, result.summary), "weights": digest.hexdigest()}


def _of(records: list[dict], summary: dict) -> dict:
    rounds: dict[str, list] = {}
    for record in records:
        for key, value in record.items():
            if key not in _TIMED:
                rounds.setdefault(key, []).append(value)
    # A hash of each column: the file stays small, and says which figure differs.
    columns = {
        key: hashlib.sha256(json.dumps(column).encode()).hexdigest()[:16]
        for key, column in rounds.items()
    }
    kept = {key: value for key, value in summary.items() if key not in _TIMED}
    return {"rounds": columns, "summary": kept}


def differences(found: dict, expected: dict, *, exactly: bool) -> list[str]:
    """What differs from the file; unless exactly, accuracies may by some points."""
    if "runs" in expected:
        pairs = zip(found["runs"], expected["runs"], strict=True)
        return [line for a, b in pairs for line in differences(a, b, exactly=exactly)]
    lines = []
    for key, value in expected["summary"].items():
        other = found["summary"].get(key)
        same = other == value
        if not exactly and key not in _COUNTED:
            near = isinstance(value, float) and isinstance(other, float)
            same = same or not near or abs(other - value) < (0.1 if "accuracy" in key else np.inf)
        if not exactly and key in _COUNTED and isinstance(value, int):
            # Entropy-coded codes depend on the last bits of weights, codes of fixed width do not.
            same = same or abs(other - value) <= 0.01 * value
        if not same:
            lines.append(f"{key}: {other!r}, not {value!r}")
    if exactly:
        rounds = expected["rounds"]
        lines += [f"rounds: {key}" for key in rounds if found["rounds"].get(key) != rounds[key]]
        if found.get("weights") != expected.get("weights"):
            lines.append("weights")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 1)
    held = json.loads(PATH.read_text()) if PATH.exists() else {"machine": machine(), "cases": {}}
    exactly = held["machine"] == machine()
    for name in options.cases or [*DEFAULTS, *SMALL, SWEPT]:
        found = figures(name)
        jax.clear_caches()
        if options.write:
            held["cases"][name] = found
            held["machine"] = machine()
            PATH.write_text(json.dumps(held, indent=1) + "\n")
        else:
            lines = differences(found, held["cases"][name], exactly=exactly)
            print(f"{name}: " + ("; ".join(lines) if lines else "the same"), flush=True)


if __name__ == "__main__":
    main()
