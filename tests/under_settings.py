"""What runs come to, as JSON: started by tests under settings of JAX that a user may have."""

import hashlib
import json

import jax
import numpy as np

import fedcode_jax
from fedcode_jax.config import ExperimentConfig, replace

SMALL = {
    "rounds": 2,
    "model.name": "mlp",
    "local.epochs": 1,
    "partition.num_clients": 4,
    "clients_per_round": 3,
    "algorithm.num_clusters": 8,
}
SEEDS = [0, 2**31 - 1, 2**31, 2**32 - 1]
_ABREAST = {"seed": SEEDS[-1], "execution.client_axis": "vmap", "execution.chunk": 2}


def digest(tree):
    """A hash of all bits of a tree."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(f"{np.shape(leaf)} {np.asarray(leaf).dtype}".encode())
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()[:16]


def ran(**changes):
    """The weights and bytes of a run."""
    result = fedcode_jax.run(replace(replace(ExperimentConfig(), SMALL), changes))
    return [digest(result.weights), result.summary["total_uplink_bytes"]]


def swept():
    """The losses of the edges of what a seed may be."""
    runs = fedcode_jax.sweep(replace(ExperimentConfig(), SMALL), {"seed": SEEDS}).runs
    return [run.records[-1]["test_loss"] for run in runs]


def main():
    runs = {
        "fedcode, two abreast": ran(**_ABREAST),
        "fedavg": ran(**{"algorithm.name": "fedavg"}),
        "swept": swept(),
    }
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
