"""Learning rates that fall over the rounds, and that are traced."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, train
from fedcode_jax.clients.optimizers import DECAYS, decayed, optimizer
from fedcode_jax.clients.reference import train_reference
from fedcode_jax.errors import ConfigError

SIZE = 20


@pytest.mark.parametrize("rounds", [1, 4, 7, 60])
def test_the_rate_of_each_round(rounds):
    laws = {
        "none": lambda done: 1.0,
        "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
        "step": lambda done: 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01,
    }
    assert set(laws) == set(DECAYS)
    numbers = jnp.arange(1, rounds + 1)
    for name, law in laws.items():
        found = jax.vmap(lambda t, name=name: decayed(name, jnp.float32(0.3), t, rounds))(numbers)
        expected = [0.3 * law((t - 1) / rounds) for t in range(1, rounds + 1)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
        assert found[0] == np.float32(0.3)
        assert (found > 0).all()


def test_an_unknown_decay_is_named():
    with pytest.raises(ConfigError, match=r"^local\.decay.*Did you mean 'cosine'\?"):
        decayed("cosin", 0.1, 1, 2)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return ClientData.from_arrays(
        rng.normal(size=(SIZE, 4, 4, 1)).astype(np.float32),
        rng.integers(0, 2, SIZE),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
        (np.arange(SIZE),),
    )


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_traced_rate_is_the_constant_one_and_compiles_once(data, name):
    model = models.mlp(2)
    weights = models.init(model, jax.random.key(0), (4, 4, 1))
    make = functools.partial(LocalTraining, model, epochs=2, batch_size=8)
    key = jax.random.key(3)

    def run(training, rate):
        arguments = (training, "map", Start(weights), data, jnp.int32(0), key, None, rate)
        return train(*arguments, max_size=SIZE).weights

    traced = make(lambda rate: optimizer(name, rate))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def one(rate):
        return run(traced, rate)

    results = []
    for rate in (0.05, 0.002):
        found = one(jnp.float32(rate))
        constant = jax.jit(functools.partial(run, make(getattr(optax, name)(rate))))
        plain, _ = train_reference(traced, weights, data, 0, key, rate)
        for other in (constant(jnp.float32(9.0)), plain):  # its own rate comes first
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), found, other)
        results.append(np.asarray(found["params"]["head"]["kernel"]))
    assert not np.allclose(*results, atol=1e-4)
