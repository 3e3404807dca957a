"""Small runs with faults, round by round, of programs that are compiled once."""

import dataclasses
import functools

import jax
import numpy as np

from fedcode_jax import algorithms, experiment, randomness
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.simulation import hostile_clients
from fedcode_jax.wire import Kind

CLIENTS, ROUNDS = 4, 5
SMALL = replace(
    ExperimentConfig(),
    {
        "rounds": ROUNDS,
        "model.name": "mlp",
        "model.hidden": [6],
        "partition.num_clients": CLIENTS,
        "local.epochs": 1,
        "local.batch_size": 128,
        "execution.client_axis": "map",  # clients in the order of their numbers
        "faults.screen": True,
    },
)
FAULTS = {
    "vanish": {"vanish": 0.4},
    "late": {"late": 0.4},
    "corrupt": {"corrupt": 0.4},
    "not finite": {"not_finite": 0.4},
    "hostile": {"hostile": hostile_clients(CLIENTS, 0.5, 0), "scale": 10.0},
    "restart": {"restart": 0.5},
    "all": {
        **{"vanish": 0.2, "late": 0.2, "corrupt": 0.2, "not_finite": 0.2, "restart": 0.3},
        **{"hostile": hostile_clients(CLIENTS, 0.25, 0), "scale": 10.0},
    },
}
MORE = ("stc", "dgc", "fedavgm", "fedper", "powersgd")
"""Methods with a common, with memories of both sides, a momentum, layers kept at home."""
NAMES = (*sorted(algorithms.registry), *MORE)


@functools.cache
def compiled(name, *changes):
    """An experiment of an algorithm, with nothing wrong; what goes wrong is traced."""
    config = replace(SMALL, {"algorithm.name": name, **dict(changes)})
    if config.algorithm.needs_sgd:
        config = replace(config, {"local.learning_rate": 0.05})
    return experiment.build(config)


def settings_of(name):
    """Settings beside the algorithm's name that it needs."""
    return (("local.optimizer", "sgd"),) if name == "scaffold" else ()


def build(name, faults, links=None, **changes):
    """The experiment, with numbers of its faults and links set by hand."""
    built = compiled(name, *settings_of(name), *changes.items())
    settings = built.program.settings

    def float32(values):
        return {k: np.asarray(v, bool if k == "hostile" else np.float32) for k, v in values.items()}

    settings = settings._replace(
        faults=settings.faults._replace(**float32(faults)),
        links=settings.links._replace(**float32(links or {})),
    )
    return dataclasses.replace(built, program=built.program.with_inputs(settings=settings))


def by_round(built, rounds=ROUNDS):
    """For each round: the state before, the state after, the metrics and the traffic."""
    state = built.program.start(built.weights)
    for _ in range(rounds):
        before = jax.tree.map(np.array, state)
        state, output = built.program.advance(state, 1, traffic=True)
        after = jax.tree.map(np.array, state)
        metrics, traffic = jax.tree.map(lambda x: np.array(x[0]), (output.metrics, output.traffic))
        yield before, after, metrics, traffic


def luck(seed, number, clients):
    """The uniform numbers of a round: [M, 4] of its clients, and that of the server."""
    keys = [
        jax.random.fold_in(jax.random.fold_in(randomness.key(np.uint32(seed)), purpose), number)
        for purpose in (4, 5)
    ]
    own = [jax.random.uniform(jax.random.fold_in(keys[0], client), (4,)) for client in clients]
    return np.array(own), float(jax.random.uniform(keys[1]))


@randomness.standardised
def expected(faults, number, metrics, traffic):
    """What a round of a run without loss or deadline is to report, from the draws."""
    own, servers = luck(0, number, metrics.clients.tolist())
    chance = {name: faults.get(name, 0.0) for name in ("vanish", "late", "corrupt", "not_finite")}
    vanish, late, corrupt, bad = (own < np.float32(list(chance.values()))).T
    sends = metrics.received & (np.asarray(traffic.uploads.kind) != Kind.NOTHING)
    restarts = servers < faults.get("restart", 0.0)
    goes = sends & ~vanish
    return {
        "vanished": sends & vanish,
        "late": goes & ~bad & late,
        "corrupt": goes & ~bad & corrupt & (not restarts),
        "not_finite": goes & bad,
        "kept": metrics.received & (vanish | ~bad),
        "restarted": restarts,
    }


def all_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree) if leaf.dtype.kind == "f")


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
