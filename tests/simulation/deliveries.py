"""Small runs over links that fail, round by round, with their traffic."""

import dataclasses
import functools

import jax
import numpy as np

from fedcode_jax import experiment
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.experiment.blueprint import Blueprint
from fedcode_jax.experiment.parts import Parts

CLIENTS = 4
SMALL = replace(
    ExperimentConfig(),
    {
        "rounds": 6,
        "model.name": "mlp",
        "partition.name": "dirichlet",
        "partition.num_clients": CLIENTS,
        "local.epochs": 1,
        "algorithm.num_clusters": 8,
        "execution.client_axis": "map",  # clients in the order of their numbers
    },
)


@functools.cache
def compiled(algorithm, coding, sketched):
    """An experiment whose program is compiled once: what is tried here are its settings."""
    measure = {"schedule.name": "drift", "schedule.measure": "sketch"} if sketched else {}
    names = {"algorithm.name": algorithm}
    if algorithm not in ("fedavg", "fedavg_every", "local_only"):
        names["algorithm.coding"] = coding
    return experiment.build(replace(SMALL, names | measure))


def build(changes, *, algorithm="fedcode", coding="fixed", sketched=False, **links):
    """An experiment with settings that are traced, some numbers of its links set by hand."""
    built = compiled(algorithm, coding, sketched)
    config = replace(SMALL, changes)
    settings = Blueprint(config, Parts(), built.dataset, built.partition).settings
    numbers = {name: np.asarray(value, np.float32) for name, value in links.items()}
    settings = settings._replace(links=settings.links._replace(**numbers))
    return dataclasses.replace(built, program=built.program.with_inputs(settings=settings))


def flat(tree):
    """All variables of a model, or of several, in the order in which FedAvg sends them."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def by_round(built, rounds):
    """For each round: the state before, the state after, the metrics and the traffic."""
    program = built.program
    state = program.start(built.weights)
    for _ in range(rounds):
        before = jax.tree.map(np.array, state)
        state, output = program.advance(state, 1, traffic=True)
        after = jax.tree.map(np.array, state)
        metrics, traffic = jax.tree.map(lambda x: np.array(x[0]), (output.metrics, output.traffic))
        yield before, after, metrics, traffic, metrics.clients


def row(tree, client):
    return jax.tree.map(lambda x: x[client], tree)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
