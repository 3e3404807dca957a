"""Every optimiser of optax that is offered, and every one that could be."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax.clients.optimizers import optimizer, optimizer_names
from fedcode_jax.config import LocalConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # optax's own, of what it will rename
NEEDS_THE_OBJECTIVE = {"lbfgs"}


def takes_a_learning_rate_alone(name):
    """Whether optax makes an optimiser of this name from a learning rate: it is tried."""
    function = getattr(optax, name)
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
    public = {name for name in dir(optax) if not name.startswith(("_", "scale_by"))}
    possible = {name for name in public if takes_a_learning_rate_alone(name)}
    assert set(optimizer_names()) == possible - NEEDS_THE_OBJECTIVE
    assert {"adam", "sgd", "nadam", "nadamw"} <= possible


@pytest.mark.parametrize("name", optimizer_names())
def test_each_takes_steps_under_jit_with_a_traced_rate(name):
    assert LocalConfig(optimizer=name).optimizer == name
    params = {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "bias": jnp.ones(4)}
    gradients = jax.tree.map(jnp.cos, params)

    @jax.jit
    def steps(rate):
        chosen, found = optimizer(name, rate), params
        state = chosen.init(params)
        for _ in range(2):  # rprop compares signs, and moves in the second one
            updates, state = chosen.update(gradients, state, found)
            found = optax.apply_updates(found, updates)
        return found

    moved = jax.tree.leaves(jax.tree.map(jnp.subtract, steps(0.1), params))
    assert all(np.isfinite(leaf).all() for leaf in moved)
    assert any(np.abs(leaf).max() > 0 for leaf in moved)
