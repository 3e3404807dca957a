"""The estimate of a client's memory against what the compiler takes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, optimizer, train
from fedcode_jax.clients.device_memory import client_bytes
from fedcode_jax.devices import free_bytes, tree_bytes

SHAPE = (8, 8, 2)
SIZE = 16


def make(name, lowering="native", opt=None, batch_size=6):
    model = models.make(name, 3, lowering=lowering)
    training = LocalTraining(model, opt or optax.sgd(0.1), epochs=1, batch_size=batch_size)
    shapes = jax.eval_shape(lambda key: models.init(model, key, SHAPE), jax.random.key(0))
    return training, shapes


def temporary_bytes(training, weights, clients):
    """What a compiled loop of local training takes for each of its clients, beyond its inputs."""
    axis, lead = ("map", ()) if clients is None else ("vmap", (clients,))
    many = lambda leaf: jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype)  # noqa: E731
    data = ClientData.from_arrays(
        np.zeros((SIZE, *SHAPE), np.uint8),
        np.zeros(SIZE, np.int32),
        np.zeros(2, np.float32),
        np.ones(2, np.float32),
        (np.arange(SIZE),),
    )
    run = jax.jit(
        lambda starts, data, clients, keys: train(
            training, axis, Start(starts), data, clients, keys, max_size=SIZE
        ),
        compiler_options={"xla_backend_optimization_level": 0},  # it compiles, and never runs
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    arguments = jax.tree.map(many, (weights, jax.ShapeDtypeStruct((), jnp.int32), key))
    compiled = run.lower(arguments[0], data, *arguments[1:]).compile()
    return compiled.memory_analysis().temp_size_in_bytes / (clients or 1)


QUICK = [("cnn", "native"), ("cnn", "patches"), ("mlp", "native")]
CASES = [
    pytest.param(
        name,
        lowering,
        marks=[] if (name, lowering) in QUICK else pytest.mark.slow,
    )
    for name in ("cnn", "cnn_pfl", "mlp", "resnet20", "mobilenet_v2")
    for lowering in ("native", "patches")
    if (name, lowering) != ("mlp", "patches")
]


@pytest.mark.parametrize(("name", "lowering"), CASES)
def test_the_estimate_is_an_upper_one_and_not_far_off(name, lowering):
    training, weights = make(name, lowering)
    estimate = client_bytes(training, weights, SHAPE)
    # alone, and three side by side where that is quick to compile
    for clients in (None, 3) if name in ("cnn", "mlp") else (None,):
        taken = temporary_bytes(training, weights, clients)
        assert taken <= estimate <= 4 * taken


def test_the_state_of_the_optimiser_counts():
    training, weights = make("mlp")
    adam, _ = make("mlp", opt=optimizer("adam", 1e-3))
    more = client_bytes(adam, weights, SHAPE) - client_bytes(training, weights, SHAPE)
    assert more == pytest.approx(2 * tree_bytes(weights), abs=16)


def test_it_grows_with_the_batch_and_with_patches():
    (small, weights), (large, _) = make("cnn", batch_size=4), make("cnn", batch_size=40)
    ratio = client_bytes(large, weights, SHAPE) / client_bytes(small, weights, SHAPE)
    assert 5 < ratio < 10
    patches, _ = make("cnn", "patches", batch_size=40)
    assert client_bytes(patches, weights, SHAPE) > 1.5 * client_bytes(large, weights, SHAPE)


def test_bytes_of_trees_and_keys():
    tree = {"a": np.zeros((3, 5), np.float32), "b": [np.zeros(7, np.uint8)]}
    assert tree_bytes(tree) == 60 + 7
    assert tree_bytes(jax.random.split(jax.random.key(0), 4)) == 4 * 8
    assert tree_bytes(jax.eval_shape(lambda: tree)) == 67


def test_free_memory_of_a_core_is_its_share_of_the_machines(monkeypatch):
    all_of_it = free_bytes()
    assert 2**20 < all_of_it < 2**50
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert free_bytes() == pytest.approx(all_of_it / 4, rel=0.2)


class Accelerator:
    platform = "gpu"

    def __init__(self, stats):
        self.memory_stats = lambda: stats


@pytest.mark.parametrize(
    ("stats", "expected"),
    [({"bytes_limit": 1000, "bytes_in_use": 300}, 700), ({"bytes_limit": 9}, 9), (None, None)],
)
def test_free_memory_of_a_device_is_what_it_says(stats, expected, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator(stats)])
    assert free_bytes() == expected
