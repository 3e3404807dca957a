"""Every optimiser of optax that is offered, and every one that could be."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from fedcode_jax import models, randomness
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, train, train_reference
from fedcode_jax.clients.optimizers import optimizer, optimizer_names
from fedcode_jax.config import ExperimentConfig, LocalConfig, from_yaml, replace, to_yaml
from fedcode_jax.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore")  # optax's own, of what it will rename
SIZES = (13, 7)
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


def made_of_a_rate(home, name):
    """Whether optax makes an optimiser of this name from a learning rate alone: it is tried."""
    function = getattr(home, name)
    if not callable(function) or inspect.isclass(function):
        return False
    try:
        if "learning_rate" not in inspect.signature(function).parameters:
            return False
        made = function(learning_rate=0.1)
    except (TypeError, ValueError):
        return False
    return isinstance(made, optax.GradientTransformation)


def test_nothing_that_optax_has_is_left_out():
    possible = {"polyak_sgd"}
    for prefix, home in (("", optax), ("contrib.", optax.contrib)):
        public = {name for name in dir(home) if not name.startswith(("_", "scale_by"))}
        possible |= {prefix + name for name in public if made_of_a_rate(home, name)}
    assert set(optimizer_names()) == possible
    assert {"adam", "nadamw", "lbfgs", "contrib.prodigy", "contrib.muon"} <= possible


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    data = ClientData.from_arrays(
        rng.normal(size=(sum(SIZES), 4, 4, 1)).astype(np.float32),
        rng.integers(0, 2, sum(SIZES)),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
        tuple(np.split(np.arange(sum(SIZES)), [SIZES[0]])),
    )
    model = models.mlp(2)
    return data, model, models.init(model, randomness.key(0), (4, 4, 1))


def trained(task, make, axis, keys, client=None, rate=0.1):
    data, model, weights = task
    training = LocalTraining(model, make, epochs=2, batch_size=8)
    start = weights
    if axis == "vmap":
        start = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(SIZES)), weights)
    clients = jnp.arange(len(SIZES)) if client is None else jnp.int32(client)

    @jax.jit
    def run(clients, keys, rate):
        settings = (training, axis, Start(start), data, clients, keys, None, rate)
        return train(*settings, max_size=max(SIZES)).weights["params"]

    return run(clients, keys, jnp.float32(rate))


KEYS = jax.random.split(randomness.key(5), len(SIZES))


QUICK = {"sgd", "adam", "adamw", "lbfgs", "noisy_sgd", "contrib.muon", "contrib.prodigy"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else slow(name) for name in optimizer_names()],
)
def test_each_trains_alike_side_by_side_and_one_by_one(task, name):
    assert LocalConfig(optimizer=name).optimizer == name
    make = functools.partial(optimizer, name)
    together = trained(task, make, "vmap", KEYS)
    alone = trained(task, make, "map", KEYS[0], client=0)
    for found, other in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[0], other, rtol=1e-4, atol=1e-4)
    kernel = task[2]["params"]["head"]["kernel"]  # a bias may come back to where it began
    assert not any(np.array_equal(own, kernel) for own in together["head"]["kernel"])


@pytest.mark.parametrize("name", ["lbfgs", "polyak_sgd", slow("contrib.sophia")])
def test_what_asks_for_more_than_gradients_is_given_it(task, name):
    data, model, weights = task
    training = LocalTraining(model, functools.partial(optimizer, name), epochs=2, batch_size=8)
    expected, _ = train_reference(training, weights, data, 1, KEYS[1], 0.1)
    found = trained(task, training.optimizer, "vmap", KEYS)
    both = map(jax.tree.leaves, (found, expected["params"]))
    for leaf, other in zip(*both, strict=True):
        np.testing.assert_allclose(leaf[1], other, rtol=1e-3, atol=1e-4)


def raw_noise(rate):
    """Noise from a raw key, as older code keeps it."""

    def init(params):
        return {"rng_key": jax.random.PRNGKey(0), "count": jnp.zeros((2,), jnp.uint32)}

    def update(grads, state, params=None):
        own, key = jax.random.split(state["rng_key"])
        noisy = optax.tree.random_like(key, grads, jax.random.normal)
        return jax.tree.map(lambda leaf: -rate * leaf, noisy), {**state, "rng_key": own}

    return optax.GradientTransformation(init, update)


def noise(rate, key=0):
    """No gradient, noise alone."""
    return optax.chain(optax.scale(0.0), optax.add_noise(1.0, 0.5, key), optax.scale(-rate))


def first(tree):
    return np.asarray(jax.tree.leaves(tree)[-1]).ravel()


@pytest.mark.parametrize("make", [noise, raw_noise])
def test_noise_is_a_clients_own_in_every_round(task, make):
    one, other = (first(trained(task, make, "map", KEYS[i], client=0)) for i in (0, 1))
    again = first(trained(task, make, "map", KEYS[0], client=0))
    assert np.array_equal(one, again)
    assert not np.isclose(one, other).any()
    together = trained(task, make, "vmap", KEYS)
    np.testing.assert_array_equal(np.asarray(jax.tree.leaves(together)[-1])[0].ravel(), one)


def test_a_seed_that_is_given_counts(task):
    one, other = (
        first(trained(task, functools.partial(noise, key=key), "map", KEYS[0], client=0))
        for key in (0, 1)
    )
    assert not np.isclose(one, other).any()


ARGUMENTS = [
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.9, "nesterov": 1.0}),  # as from a command line
    ("adam", {"mu_dtype": "bfloat16"}),
    ("contrib.muon", {"ns_steps": 3.0}),
    ("contrib.prodigy", {"betas": [0.9, 0.99]}),
    ("noisy_sgd", {"key": 3}),
    ("lbfgs", {"memory_size": 4}),
]


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS)
def test_arguments_of_every_kind(name, arguments):
    changes = {"local.optimizer": name, "local.optimizer_args": arguments}
    config = replace(ExperimentConfig(), changes)
    assert from_yaml(to_yaml(config)) == config


WRONG = [
    ("sgd", {"momentun": 0.9}),
    ("sgd", {"momentum": "high"}),
    ("adam", {"mu_dtype": "float99"}),
    ("adam", {"b1": [0.9, 0.8]}),
    ("adam", {"learning_rate": 0.1}),
    ("adam", {"b1": None}),
    ("adam", {"b1": {"a": 1}}),
    ("lbfgs", {"memory_size": 0}),
    ("noisy_sgd", {"key": "seven"}),
]


@pytest.mark.parametrize(("name", "arguments"), WRONG)
def test_wrong_arguments_are_told_in_a_line(name, arguments):
    with pytest.raises(ConfigError, match=r"^local\.optimizer_args") as caught:
        LocalConfig(optimizer=name, optimizer_args=arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["contrib.dpsgd", "lookahead", "contrib.sam", "adamm", "scale"])
def test_what_cannot_serve_is_told_in_a_line(name):
    with pytest.raises(ConfigError, match=rf"^local\.optimizer: .*{name}") as caught:
        optimizer(name, 0.1)
    assert "\n" not in str(caught.value)


def test_a_line_search_knows_no_weight_decay():
    with pytest.raises(ConfigError, match=r"^local\.weight_decay: 0\.1"):
        optimizer("lbfgs", 1.0, weight_decay=0.1)
