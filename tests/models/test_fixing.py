"""Batch norm of flax with its averages fixed: as the evaluated model, and left as they are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from own_models import NnxNormed, Normed, Plain

from fedcode_jax import models
from fedcode_jax.errors import ConfigError

X = np.random.default_rng(0).normal(1, 2, size=(8, 4)).astype(np.float32)
MADE = [Normed(), NnxNormed]


def first(model):
    variables = models.init(model, jax.random.key(0), (4,))
    rng = np.random.default_rng(1)
    drawn = lambda leaf: jnp.float32(rng.uniform(0.5, 1.5, leaf.shape))  # noqa: E731
    return {**variables, "batch_stats": jax.tree.map(drawn, variables["batch_stats"])}


def gradients(model, variables, fixed):
    @jax.jit
    def run(variables, fixed):
        def loss(params):
            with models.fixed_norm(fixed):
                logits, state = model.apply(
                    {**variables, "params": params},
                    X,
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": jax.random.key(2)},
                )
            return jnp.sum(logits**3), (logits, state)

        return jax.grad(loss, has_aux=True)(variables["params"])

    return run(variables, fixed)


@pytest.mark.parametrize("made", MADE, ids=["linen", "nnx"])
def test_fixed_averages_stay_and_give_the_evaluated_model(made):
    model = models.adapted(made)
    variables = first(model)
    grads, (logits, state) = gradients(model, variables, jnp.bool_(True))
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])

    def loss(params):
        return jnp.sum(model.apply({**variables, "params": params}, X, train=False) ** 3)

    expected = model.apply(variables, X, train=False)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    expected = jax.jit(jax.grad(loss))(variables["params"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), grads, expected
    )


@pytest.mark.parametrize("made", MADE, ids=["linen", "nnx"])
def test_averages_that_are_not_fixed_train_as_ever(made):
    model = models.adapted(made)
    variables = first(model)
    free = gradients(model, variables, jnp.bool_(False))
    plain = gradients(model, variables, None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), free, plain)
    fixed = gradients(model, variables, jnp.bool_(True))
    assert not np.allclose(free[1][0], fixed[1][0], atol=1e-3)


def test_layers_that_are_told_when_they_are_called_are_met_too():
    class Told(nnx.Module):
        def __init__(self, rngs):
            self.norm, self.head = nnx.BatchNorm(4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x, train):
            return self.head(self.norm(x, use_running_average=not train))

    model = models.adapted(Told)
    variables = first(model)
    _, (_, state) = gradients(model, variables, jnp.bool_(True))
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])
    models.check_fixed_norm(model, (4,))


def test_it_works_side_by_side():
    for made in MADE:
        model = models.adapted(made)
        variables = first(model)
        two = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), variables)
        run = jax.vmap(lambda v, model=model: gradients(model, v, jnp.bool_(True))[1][1])
        jax.tree.map(np.testing.assert_array_equal, run(two)["batch_stats"], two["batch_stats"])


@pytest.mark.parametrize("made", [*MADE, models.cnn(3, norm="batch"), models.resnet8(3)], ids=str)
def test_models_whose_statistics_are_of_batch_norm_pass(made):
    models.check_fixed_norm(made, (4,) if made in MADE else (8, 8, 1))


class Counting(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        seen = self.variable("batch_stats", "seen", jnp.zeros, ())
        if train:
            seen.value += 1.0
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


class Renormed(nnx.BatchNorm):
    def __call__(self, x):
        return super().__call__(x) * 2


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (Plain(), "the model has no batch norm"),
        (Counting(), "batch_stats/seen is no running average"),
        (lambda rngs: Renormed(4, rngs=rngs), "batch_stats/mean is no running average"),
    ],
    ids=["plain", "counting", "overridden"],
)
def test_other_statistics_are_refused(model, complaint):
    with pytest.raises(ConfigError, match=f"^local.fix_norm_after: cannot be used; {complaint}"):
        models.check_fixed_norm(model, (4,))


def test_own_batch_norm_is_public_and_masks():
    class Masked(nn.Module):
        @nn.compact
        def __call__(self, x, *, train, mask=None):
            return nn.Dense(3)(models.BatchNorm(name="norm")(x, train=train, mask=mask))

    models.check_model(Masked(), (4,), 3)
    models.check_fixed_norm(Masked(), (4,))
