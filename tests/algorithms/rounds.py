"""Rounds of an algorithm by hand: three clients, and training that moves every weight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import algorithms, wire
from fedcode_jax.algorithms import At, Work
from fedcode_jax.compress import codebook, error_feedback, powersgd, topk
from fedcode_jax.schedules import Exchange

CLIENTS = 3
NAMES = sorted(algorithms.registry)
SAMPLES = jnp.array([1.0, 2.0, 5.0])


VARIANTS = {
    "fedcode, entropy": {"coding": "entropy"},
    "fedcode, adaptive by layer": {"coding": "adaptive", "groups": "layers"},
    "fedcode, conditional at a price": {"coding": "conditional", "rate_weight": 1e-2},
    "fedcode, blocks": {"num_clusters": 8, "block": 2, "coding": "conditional"},
    "skip, conditional": {"coding": "conditional"},
    "fedavg, up": {"up": error_feedback(topk(0.2))},
    "fedavg, down": {"down": topk(0.2)},
    "fedavg, both by codebooks": {
        "up": error_feedback(codebook(3), "bfloat16"),
        "down": codebook(3),
    },
    "fedavg, both by factors": {
        "up": error_feedback(powersgd(2)),
        "down": powersgd(1),
        "groups": "kernel=layered,bias+norm=layered,stats=dense",
    },
    "fedavg, both at a price": {
        "up": error_feedback(codebook(4, rate_weight=0.1), "coded"),
        "down": codebook(4, "entropy"),
        "groups": "kernel+bias+norm=coded,stats=dense16",
    },
    "fedavg, down and kept": {"down": topk(0.2), "groups": "*/norm/*=local,params"},
    "fedcode, kept": {"groups": "*/norm/*=local,kernels"},
    "fedpm, in steps": {"levels": 5, "coding": "adaptive", "reset": 2},
    "fedpm_mrc, in small blocks": {"block": 3, "bits": 2, "samples": 3},
}


@functools.cache
def made(case):
    """The algorithm of a name or of a variant, the same one each time: its programs are kept."""
    return algorithms.registry[case.partition(",")[0]](**VARIANTS.get(case, {}))


def weights():
    rng = np.random.default_rng(0)
    return {
        "params": {
            "dense": {"kernel": jnp.float32(rng.normal(size=(20, 5))), "bias": jnp.zeros(5)},
            "norm": {"scale": jnp.ones(5), "bias": jnp.zeros(5)},
        },
        "batch_stats": {"norm": {"mean": jnp.zeros(5), "var": jnp.ones(5)}},
    }


def exchange(server, clients):
    return Exchange(jnp.array(server), jnp.array(clients))


def moved(tree, by=0.1, seed=1):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + by * jnp.float32(rng.normal(size=x.shape)), tree)


def seen(algorithm, start):
    """The weights that a client starts from, as its model is applied with them."""
    view, at = algorithm.objective.view, At(jnp.int32(0), jnp.int32(1))
    if view is None:
        return start.weights
    params = view(start.weights["params"], start.carried, at, jax.random.key(0))
    return {**start.weights, "params": params}


def worked(start, seed=0):
    """The work of a client that trained."""
    trained = jax.tree.map(
        lambda x: x + 0.1 * jnp.sin(seed + jnp.arange(x.size)).reshape(x.shape), start.weights
    )
    return Work(start, trained, jnp.int32(3), jnp.float32(0.1), jnp.float32(0.5))


def common_of(algorithm, server):
    return None if algorithm.common is None else algorithm.common(server)


def common_with_own(algorithm, server, stored):
    """What clients that are up to date hold, but for what this one keeps to itself."""
    common = algorithm.common(server)
    if algorithm.personal is None:
        return common
    return algorithm.personal(server._replace(weights=common), stored)


def received(algorithm, stored, message, common, first=False):
    """What a client starts with; a first contact is sent weights, where there is no common."""
    if algorithm.common is None:
        message = wire.addressed(message, first)
    return algorithm.receive(stored, message, common)


def one_round(algorithm, server, store, sends, first, key=None):
    """The broadcast, uploads, starts, server and store of a round of all clients.

    The uploads are as they were sent; all of them arrive.
    """
    key = jax.random.key(0) if key is None else key
    # By its address: a schedule cannot be hashed. The program holds on to the algorithm.
    if id(algorithm) not in _PROGRAMS:
        _PROGRAMS[id(algorithm)] = jax.jit(functools.partial(_one_round, algorithm))
    return _PROGRAMS[id(algorithm)](server, store, sends, jnp.asarray(first), key)


_PROGRAMS = {}


def _one_round(algorithm, server, store, sends, first, key):
    common = common_of(algorithm, server)
    message, server = algorithm.broadcast(server, sends, key)

    def client(stored, first, seed):
        start = received(algorithm, stored, message, common, first)
        key = jax.random.fold_in(jax.random.key(1), seed)
        upload, stored = algorithm.upload(stored, worked(start, seed), sends, key)
        read = upload
        if algorithm.heard is not None:
            read, stored = algorithm.heard(stored, wire.only_carried(upload))
        return upload, read, stored, start

    firsts = jnp.full(CLIENTS, first)
    uploads, read, store, starts = jax.vmap(client)(store, firsts, jnp.arange(CLIENTS))
    return message, uploads, starts, algorithm.aggregate(server, read, SAMPLES, sends), store
