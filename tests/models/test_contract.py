"""Every way to break the contract of a model is told in one line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from own_models import NnxNormed, Normed, Plain

from fedcode_jax import models
from fedcode_jax.errors import ConfigError


class Head(nn.Module):
    """A dense layer, and what goes wrong."""

    wrong: str = ""

    @nn.compact
    def __call__(self, x, train):
        param_dtype = jnp.bfloat16 if self.wrong == "dtype" else jnp.float32
        logits = nn.Dense(4 if self.wrong == "width" else 3, param_dtype=param_dtype)(x)
        if self.wrong == "collection":
            self.variable("cache", "last", jnp.zeros, (3,))
        if self.wrong == "integers":
            return jnp.argsort(logits)
        if self.wrong == "mean":
            return logits.mean(axis=0)
        if self.wrong == "first":
            return logits[:3]
        if self.wrong == "pair":
            return logits, x
        if self.wrong == "grows":
            seen = self.variable("batch_stats", "seen", jnp.zeros, (1, 4))
            if train:
                seen.value = x
        if self.wrong == "appears":
            self.variable("batch_stats", "late" if train else "early", jnp.zeros, (1,))
        if self.wrong == "noise":
            logits += jax.random.normal(self.make_rng("noise"), logits.shape)
        return logits


class Cached(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.cache = nnx.Linear(4, 3, rngs=rngs), nnx.Cache(jnp.zeros(2))

    def __call__(self, x):
        return self.layer(x)


class Bare(nnx.Module):
    def __call__(self, x):
        return x[:, :3]


BROKEN = {
    "collection": "has the collections cache beside params and batch_stats; keep",
    "width": r"gives float32\[3, 4\] for 3 samples; it must give logits float32\[3, 3\]",
    "dtype": "params/Dense_0/bias is bfloat16; all variables must be float32",
    "integers": r"gives int32\[3, 3\]",
    "mean": r"gives float32\[3\] for 3 samples",
    "first": r"gives float32\[3, 3\] for 5 samples",
    "pair": "gives tuple; it must give one array",
    "grows": r"training changes batch_stats/seen from \(\(1, 4\), 'float32'\) to \(\(3, 4\)",
    "appears": "training changes batch_stats/late from nothing",
    "noise": r"evaluating it with samples of shape \(4,\) raises InvalidRngError",
}


def refused(model, shape=(4,), classes=3):
    with pytest.raises(ConfigError) as told:
        models.check_model(model, shape, classes)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith("model: ")
    return told


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_model_is_told_in_one_line(wrong):
    assert refused(Head(wrong)).match(BROKEN[wrong])


@pytest.mark.parametrize("model", [Head(), Plain(), Normed(0.5), NnxNormed], ids=str)
def test_models_that_keep_to_it_pass(model):
    models.check_model(model, (4,), 3)
    models.check_model(models.adapted(model), [2, 2] if not isinstance(model, Head) else (4,), 3)


def test_models_of_the_registry_keep_to_it():
    for name in ("cnn", "resnet8", "lenet5"):
        models.check_model(models.make(name, 5), (32, 32, 1), 5)


def test_samples_that_do_not_fit_are_told_with_their_shape():
    assert refused(models.cnn(3), (5,)).match(r"init it with samples of shape \(5,\) raises Data")
    assert refused(NnxNormed, (5,)).match(r"evaluating it with samples of shape \(5,\) raises")


def test_other_variables_of_nnx_are_told():
    assert refused(Cached).match("has the collections Cache")


def test_a_model_without_params_is_told():
    assert refused(Bare()).match("no params")


def test_a_model_that_cannot_be_hashed_is_told():
    class Tabled(nn.Module):
        table: jax.Array

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x) + self.table

    assert refused(Tabled(jnp.ones(3))).match("cannot be hashed")
