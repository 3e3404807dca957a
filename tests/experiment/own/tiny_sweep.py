"""A sweep of next to nothing, and what stops one."""

import math

from fedcode_jax.config import ExperimentConfig, replace

TINY = {
    "rounds": 4,
    "eval_every": 2,
    "data.name": "synthetic",
    "data.shape": [6],
    "data.num_classes": 3,
    "data.train_size": 60,
    "data.test_size": 30,
    "model.name": "mlp",
    "model.hidden": [8],
    "partition.num_clients": 3,
    "local.epochs": 1,
    "local.batch_size": 8,
    "algorithm.name": "fedavg",
}
BASE = replace(ExperimentConfig(), TINY)
MACHINE = ("wall_seconds", "padding_waste")


def words(*others):
    """The same sweep as a command."""
    told = []
    for name, value in TINY.items():
        values = value if isinstance(value, list) else [value]
        told += [f"--{name.replace('_', '-')}", *map(str, values)]
    return ["sweep", *told, *others]


def figures(records):
    return [{k: v for k, v in record.items() if k not in MACHINE} for record in records]


class Counting:
    """An observer that can stop a sweep, as a kill would, once so many experiments are done."""

    def __init__(self, stop_after=math.inf):
        self.stop_after, self.done = stop_after, 0.0

    def started(self, total, finished, groups):
        self.total, self.before, self.groups = total, finished, groups

    def advanced(self, experiments):
        self.done += experiments
        if self.done > self.stop_after:
            raise KeyboardInterrupt

    def finished(self):
        pass
