"""Run folders whose checkpoint is of the state before the first round: nothing is trained."""

import jax
import numpy as np

from fedcode_jax import experiment
from fedcode_jax.config import ExperimentConfig, replace, to_yaml
from fedcode_jax.results import RunFolder
from fedcode_jax.simulation import checkpoint

SMALL = {
    "data.name": "synthetic",
    "data.shape": [6],
    "data.num_classes": 3,
    "data.train_size": 60,
    "data.test_size": 30,
    "partition.num_clients": 2,
    "model.name": "mlp",
    "model.hidden": [8],
    "algorithm.num_clusters": 8,
    "local.epochs": 1,
    "rounds": 1,
}


def small(changes=None):
    changes = changes or {}
    other = changes.get("algorithm.name", "fedcode") not in ("fedcode", "skip")
    base = {k: v for k, v in SMALL.items() if not (other and k == "algorithm.num_clusters")}
    return replace(ExperimentConfig(), base | changes)


def begun(out, changes=None, *, spoilt=False, records=None, **given):
    """Writes such a folder; ``spoilt``: its last weights are not a number."""
    config = small({**(changes or {}), "out": str(out)})
    made = experiment.build(config, **given)
    weights = made.weights
    if spoilt:
        weights = jax.tree.map(lambda leaf: leaf * np.nan, weights)
    folder = RunFolder.create(out, to_yaml(made.config), {})
    checkpoint.save(folder.checkpoints, made.program.start(weights))
    record = {"round": 0, "test_accuracy": 0.25, "deployed_accuracy": 0.125}
    folder.append([record] if records is None else records)
    return made
