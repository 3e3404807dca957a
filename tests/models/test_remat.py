"""Values that are made again for the gradient: the same training, in less memory."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.clients import LocalTraining
from fedcode_jax.clients.device_memory import client_bytes

SHAPE = (8, 8, 2)
OFFERED = [
    n for n, make in models.registry.items() if "remat" in inspect.signature(make).parameters
]
SMALL = {"resnet8": {}, "wrn_16_4": {}, "mobilenet_v2": {"width": 0.25, "norm": "group"}}


def made(name, remat, **settings):
    return models.registry[name](3, remat=remat, **settings)


def test_they_are_offered_where_there_are_blocks():
    assert set(OFFERED) == {f"resnet{n}" for n in (8, 14, 20, 32, 56)} | {
        "wrn_16_4",
        "mobilenet_v2",
    }


@pytest.mark.parametrize(
    "name", ["resnet8", *(pytest.param(n, marks=pytest.mark.slow) for n in SMALL if n != "resnet8")]
)
def test_the_gradient_and_the_running_statistics_are_the_same(name):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(5, *SHAPE)), jnp.float32)
    mask = jnp.arange(5) < 4
    found = []
    for remat in (False, True):
        model = made(name, remat, **SMALL[name])
        weights = models.init(model, jax.random.key(0), SHAPE)

        def loss(params, model=model, weights=weights):
            every = {**weights, "params": params}
            logits, state = model.apply(every, x, train=True, mask=mask, mutable=["batch_stats"])
            return jnp.sum(logits[:4] ** 2), state

        found.append(jax.jit(jax.grad(loss, has_aux=True))(weights["params"]))
    assert jax.tree.structure(found[0]) == jax.tree.structure(found[1])
    for kept, again in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(again, kept, rtol=1e-4, atol=1e-5 * float(jnp.abs(kept).max()))


@pytest.mark.parametrize("name", OFFERED)
def test_less_is_kept(name):
    bytes_of = []
    for remat in (False, True):
        training = LocalTraining(made(name, remat), lambda rate: optax.sgd(rate), batch_size=32)
        shapes = jax.eval_shape(lambda m=training.model: models.init(m, jax.random.key(0), SHAPE))
        bytes_of.append(client_bytes(training, shapes, SHAPE) - 3 * 4 * weights_of(shapes))
    assert bytes_of[1] < 0.6 * bytes_of[0]


def weights_of(shapes):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
