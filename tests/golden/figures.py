"""What every algorithm and every model comes to, to the last bit: ``figures.json`` holds it.

    python tests/golden/figures.py [--write] [CASE ...]

Shows what differs from the file, the old figure and the new, as a table; with --write the new ones
go into the file. A CASE is a name or the beginning of some: ``algorithm``, ``model``, ``small``.
Rounding differs between processors and versions of JAX, so the file says what made it, and
elsewhere figures are only to be near.
"""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import sys

import jax
import numpy as np

import fedcode_jax
from fedcode_jax import experiment, models, randomness
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.config.algorithms import AlgorithmConfig
from fedcode_jax.config.models import ModelConfig

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

_TINY = {
    "rounds": 2,
    "data.train_part": 200,
    "data.test_part": 100,
    "model.name": "mlp",
    "model.hidden": (8,),
    "partition.name": "imbalanced",
    "partition.num_clients": 4,
    "clients_per_round": 3,
    "local.epochs": 1,
    "local.optimizer": "sgd",
    "local.learning_rate": 0.05,
}
_NORMED = {key: value for key, value in _TINY.items() if key != "model.hidden"}
_NORMED |= {"model.name": "cnn", "model.norm": "batch"}
EACH_ALGORITHM = {
    f"algorithm {name}": {"algorithm.name": name, **(_NORMED if name == "fedbn" else _TINY)}
    for name in AlgorithmConfig.members
}

_SHAPES = {"yamnet": (96, 64, 1), "lenet5": (28, 28, 1), "cnn_fedavg": (28, 28, 1)}
EACH_MODEL = {f"model {name}": _SHAPES.get(name, (32, 32, 3)) for name in ModelConfig.members}
"""By name, the shape of a sample."""

SWEPT = "small, swept"
"""The same as a sweep over two seeds."""

_TIMED = ("wall_seconds", "compile_seconds", "to_accuracy", "plan", "padding_waste")
_COUNTED = ("status", "rounds", "total_uplink_bytes", "total_downlink_bytes", "parameters")


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
        "flags": os.environ.get("XLA_FLAGS", "").strip(),
    }


def figures(name: str) -> dict:
    """The figures of a case: of its rounds, its summary, and its weights as a hash."""
    if name == SWEPT:
        config = replace(ExperimentConfig(), SMALL["small, fedcode"])
        runs = fedcode_jax.sweep(config, {"seed": [0, 1]}).runs
        return {"runs": [_of(run.records, run.summary) for run in runs]}
    if name in EACH_MODEL:
        return _of_model(name.removeprefix("model "), EACH_MODEL[name])
    config = replace(ExperimentConfig(), {**DEFAULTS, **SMALL, **EACH_ALGORITHM}[name])
    result = experiment.run(config, wire_check=True)
    return {**_of(result.records, result.summary), "weights": _hash(result.weights)}


def _hash(tree: object) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


@randomness.standardised
def _of_model(name: str, shape: tuple[int, ...]) -> dict:
    """Of an untrained model on a batch of noise: what it is, and what it gives."""
    model = models.adapted(models.registry[name](10))
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)

    def both(variables: dict) -> tuple:
        rest = [kind for kind in variables if kind != "params"]
        more = {"mutable": rest, "rngs": {"dropout": randomness.key(1)}}
        trained = model.apply(variables, x, train=True, mask=np.ones(4, bool), **more)
        return model.apply(variables, x, train=False), trained

    variables = jax.jit(lambda: models.init(model, randomness.key(0), shape))()
    logits, (training, state) = jax.jit(both)(variables)
    summary = {
        "parameters": models.count_parameters(variables),
        "largest logit": float(np.max(np.abs(logits))),
        "largest logit in training": float(np.max(np.abs(training))),
    }
    hashes = {"variables": variables, "logits": logits, "training": (training, state)}
    return {"summary": summary, "rounds": {key: _hash(each) for key, each in hashes.items()}}


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


def changes(found: dict, expected: dict, *, exactly: bool) -> list[tuple[str, object, object]]:
    """What differs from the file, by name, with the old figure and the new.

    Unless exactly, accuracies may by some points, and bytes by a hundredth.
    """
    if "runs" in expected:
        pairs = zip(found["runs"], expected["runs"], strict=True)
        return [row for a, b in pairs for row in changes(a, b, exactly=exactly)]
    rows: list[tuple[str, object, object]] = []
    for key, value in expected["summary"].items():
        other = found["summary"].get(key)
        same = other == value
        if not exactly and key not in _COUNTED:
            near = isinstance(value, float) and isinstance(other, float)
            same = same or not near or abs(other - value) < _most(key, value)
        if not exactly and key in _COUNTED and isinstance(value, int):
            # Entropy-coded codes depend on the last bits of weights, codes of fixed width do not.
            same = same or abs(other - value) <= 0.01 * value
        if not same:
            rows.append((key, value, other))
    if exactly:
        of_rounds = {key: found["rounds"].get(key) for key in expected["rounds"]}
        rows += [
            (f"rounds: {key}", expected["rounds"][key], other)
            for key, other in of_rounds.items()
            if other != expected["rounds"][key]
        ]
        if found.get("weights") != expected.get("weights"):
            rows.append(("weights", expected.get("weights"), found.get("weights")))
    return rows


def _most(key: str, value: float) -> float:
    """By how much a figure may differ on another machine."""
    if "logit" in key:
        return 1e-3 * value
    return 0.1 if "accuracy" in key else np.inf


def differences(found: dict, expected: dict, *, exactly: bool) -> list[str]:
    """The same, a line each."""
    rows = changes(found, expected, exactly=exactly)
    hashed = ("rounds: ", "weights")
    return [
        key if key.startswith(hashed) else f"{key}: {new!r}, not {old!r}" for key, old, new in rows
    ]


def shown(name: str, rows: list[tuple[str, object, object]]) -> str:
    """A case's part of the table: what differs, its old figure and its new one."""
    if not rows:
        return f"{name}: the same"
    cells = [(key, _short(old), _short(new)) for key, old, new in rows]
    width = max(len(key) for key, _, _ in cells)
    return "\n".join([f"{name}:", *(f"  {k:<{width}}  {old} -> {new}" for k, old, new in cells)])


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else text[:12] + "..."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 1)
    held = json.loads(PATH.read_text()) if PATH.exists() else {"machine": machine(), "cases": {}}
    exactly, every = held["machine"] == machine(), [*DEFAULTS, *SMALL, SWEPT]
    every += [*EACH_ALGORITHM, *EACH_MODEL]
    chosen = [name for name in every if name.startswith(tuple(options.cases or [""]))]
    if options.write and not exactly and set(chosen) != set(every):
        parser.error("the file is of another machine or version: write all cases, not some")
    changed = 0
    for name in chosen:
        found = figures(name)
        jax.clear_caches()
        old = held["cases"].get(name)
        new = old is None
        rows = [] if new else changes(found, old, exactly=exactly)
        print(f"{name}: new" if new else shown(name, rows), flush=True)
        changed += bool(rows) or new
        if options.write:
            held["cases"][name] = found
            held["machine"] = machine()
            PATH.write_text(json.dumps(held, indent=1) + "\n")
    print(f"{changed} of {len(chosen)} differ" + ("; written" if options.write else ""))


if __name__ == "__main__":
    main()
