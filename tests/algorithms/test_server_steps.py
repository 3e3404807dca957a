"""How the server moves, against the published recursions in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.algorithms import server_steps
from fedcode_jax.errors import ConfigError

ROUNDS, N = 7, 20


def changes():
    return np.random.default_rng(0).normal(size=(ROUNDS, N)) * 10.0 ** np.arange(-4, 3)[:, None]


def published(name, d, lr, b1, b2, tau):
    """Algorithm 2 of arXiv 2003.00295, in float64."""
    w, m, v = np.zeros(N), np.zeros(N), np.full(N, tau**2)
    for change in d:
        m = b1 * m + (1 - b1) * change
        if name == "adagrad":
            v = v + change**2
        elif name == "yogi":
            v = v - (1 - b2) * change**2 * np.sign(v - change**2)
        else:
            v = b2 * v + (1 - b2) * change**2
        w = w + lr * m / (np.sqrt(v) + tau)
    return w


def moved(step, d):
    w, state = jnp.zeros(N), step.init(jnp.zeros(N))
    for change in d:
        by, state = jax.jit(step.update)(jnp.float32(-change), state)
        w = w + by
    return w


@pytest.mark.parametrize("name", ["adam", "yogi", "adagrad"])
def test_adaptive_steps_are_those_of_the_paper(name):
    settings = {"learning_rate": 0.3, "b1": 0.8, "tau": 0.01}
    settings |= {} if name == "adagrad" else {"b2": 0.9}
    found = moved(server_steps.registry[name](**settings), changes())
    expected = published(name, changes(), 0.3, 0.8, settings.get("b2"), 0.01)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_momentum_is_that_of_the_paper():
    found = moved(server_steps.sgd(learning_rate=0.5, momentum=0.9), changes())
    w, m = np.zeros(N), np.zeros(N)
    for change in changes():
        m = 0.9 * m + change
        w = w + 0.5 * m
    np.testing.assert_allclose(found, w, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("sgd", {"learning_rate": 0.0}, "learning_rate"),
        ("sgd", {"momentum": 1.0}, "momentum"),
        ("adam", {"b1": -0.1}, "b1"),
        ("adam", {"b2": 1.0}, "b2"),
        ("yogi", {"tau": 0.0}, "tau"),
        ("adagrad", {"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(name, settings, named):
    with pytest.raises(ConfigError, match=rf"^algorithm\.server\.{named}: "):
        server_steps.registry[name](**settings)
