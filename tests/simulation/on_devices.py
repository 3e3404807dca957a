"""Run by test_devices.py in a process of its own: small experiments on 1, 2 and 8 devices.

Usage: python on_devices.py FOLDER. Writes results.json and weights.npz there.
"""

import json
import sys
from pathlib import Path

import jax

jax.config.update("jax_num_cpu_devices", 8)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from fedcode_jax import experiment, models  # noqa: E402
from fedcode_jax.config import ExperimentConfig, replace  # noqa: E402
from fedcode_jax.simulation import EvaluationData, evaluate, simulate  # noqa: E402

SMALL = {
    "rounds": 2,
    "eval_every": 2,
    "model.name": "mlp",
    "local.epochs": 1,
    "local.optimizer": "sgd",
    "local.learning_rate": 0.1,
    "algorithm.num_clusters": 8,
    "partition.name": "dirichlet",  # ragged
    "execution.client_axis": "map",
}

CASES = {
    # 10 clients on 8 devices: two each, or one.
    "fedavg": ([1, 2, 8], {"algorithm.name": "fedavg"}),
    "conditional": ([1, 8], {"algorithm.coding": "conditional"}),
    # A cohort of 3, in chunks of 2, on 2 devices: the second has half a chunk.
    "sampled": (
        [1, 2],
        {
            "partition.num_clients": 7,
            "clients_per_round": 3,
            "execution.client_axis": "vmap",
            "execution.chunk": 2,
        },
    ),
    "packed": (
        [1, 2],
        {
            "algorithm.name": "fedavg",
            "execution.client_axis": "vmap",
            "execution.chunk": 2,
            "execution.layout": "packed",
        },
    ),
    "local_only": ([1, 8], {"algorithm.name": "local_only", "partition.num_clients": 8}),
    "fedper": ([1, 8], {"algorithm.name": "fedper", "partition.num_clients": 8}),
}


def run(changes: dict, devices: int) -> tuple[np.ndarray, dict]:
    """All weights in a row, and what is to be equal or looked at."""
    base = replace(ExperimentConfig(), SMALL)
    one = experiment.build(replace(base, {**changes, "execution.devices": devices}))
    outcome = simulate(one.program, one.program.start(one.weights), rounds=2, eval_every=2)
    state = outcome.state
    leaves = jax.tree.leaves((state.server, state.store) if state.store else state.server)
    weights = [np.asarray(x).ravel() for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]
    stored = jax.tree.leaves((state.store, state.contacted))
    facts = {
        "records": outcome.records,
        "compilations": len(one.program.compiled.segments),
        "devices": one.program.plan.devices,
        "spread": [not leaf.sharding.is_fully_replicated for leaf in stored],
        "replicated": all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state.server)),
    }
    return np.concatenate(weights), facts


def wrong(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The share that is not right."""
    return jnp.argmax(logits, axis=-1) != labels


def scores() -> dict[str, list[float]]:
    """A test set of 23 samples on 1, 2 and 8 devices, of which none but 1 divides it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(23, 4)).astype(np.float32), rng.integers(0, 3, 23)
    model = models.make("mlp", 3)
    weights = models.init(model, jax.random.key(0), (4,))
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), weights)
    found = {}
    for devices in (1, 2, 8):
        mean, std = np.zeros(4, np.float32), np.ones(4, np.float32)
        test = EvaluationData.from_arrays(x, y, mean, std, batch_size=5, devices=devices)
        scored = lambda w, t, d=devices: evaluate(model, w, t, d, metrics=(("wrong", wrong),))  # noqa: E731
        score = jax.jit(scored)(two, test)
        found[str(devices)] = [float(x) for x in (*score[:2], score.metrics["wrong"])]
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    results: dict = {"scores": scores(), "cases": {}}
    arrays = {}
    for name, (counts, changes) in CASES.items():
        results["cases"][name] = {}
        for devices in counts:
            arrays[f"{name}-{devices}"], facts = run(changes, devices)
            results["cases"][name][str(devices)] = facts
    (folder / "results.json").write_text(json.dumps(results))
    np.savez(folder / "weights.npz", **arrays)
