"""Normalisation against NumPy, and a masked batch against the smaller batch it stands for."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.models.fixing import fixed_norm
from fedcode_jax.models.norm import check_norm, norm


class Layer(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x, train=True, mask=None):
        return norm(self.kind, x, name="norm", train=train, mask=mask)


def train(variables, x, mask=None):
    layer = Layer("batch")
    return jax.jit(lambda v, x: layer.apply(v, x, mask=mask, mutable=["batch_stats"]))(variables, x)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype(np.float32)


def batch_variables(channels):
    names = {"params": ("scale", "bias"), "batch_stats": ("mean", "var")}
    return {
        collection: {
            "norm": {name: np.abs(drawn(channels, seed=len(name) + i)) for i, name in enumerate(of)}
        }
        for collection, of in names.items()
    }


def test_batch_norm_training_equals_numpy():
    x, variables = drawn(6, 3, 4, 5), batch_variables(5)
    y, updated = train(variables, x)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    params, old = variables["params"]["norm"], variables["batch_stats"]["norm"]
    want = params["scale"] * (x - mean) / np.sqrt(var + 1e-5) + params["bias"]
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)
    new = updated["batch_stats"]["norm"]
    np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new["var"], 0.9 * old["var"] + 0.1 * var, rtol=1e-5)


def test_batch_norm_equals_flax():
    x, variables = drawn(6, 3, 4, 5), batch_variables(5)
    mask = np.array([True, False, True, True, False, True])

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.BatchNorm(momentum=0.9, name="norm")
            return layer(x, use_running_average=False, mask=mask.reshape(-1, 1, 1, 1))

    ours = train(variables, x, mask)
    theirs = jax.jit(lambda v, x: Flax().apply(v, x, mutable=["batch_stats"]))(variables, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, theirs)


def test_batch_norm_evaluation_uses_the_running_averages_and_ignores_the_batch():
    x, variables = drawn(6, 3, 4, 5), batch_variables(5)
    y = Layer("batch").apply(variables, x, train=False)
    params, old = variables["params"]["norm"], variables["batch_stats"]["norm"]
    want = params["scale"] * (x - old["mean"]) / np.sqrt(old["var"] + 1e-5) + params["bias"]
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)


def test_fixed_averages_by_hand():
    """y and its gradients are those of a scale and a shift; False is training as it was."""
    x, variables, g = drawn(6, 3, 4, 5), batch_variables(5), drawn(6, 3, 4, 5, seed=1)

    @jax.jit
    def run(fixed, params, x):
        def layer(params, x):
            with fixed_norm(fixed):
                return Layer("batch").apply(
                    {**variables, "params": params}, x, mutable=["batch_stats"]
                )

        y, vjp, updated = jax.vjp(layer, params, x, has_aux=True)
        return y, vjp(g), updated["batch_stats"]["norm"]

    params, old = variables["params"]["norm"], variables["batch_stats"]["norm"]
    y, (dparams, dx), kept = run(True, variables["params"], x)
    centred = (x - old["mean"]) / np.sqrt(old["var"] + 1e-5)
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(y, params["scale"] * centred + params["bias"], **close)
    np.testing.assert_allclose(dx, g * params["scale"] / np.sqrt(old["var"] + 1e-5), **close)
    np.testing.assert_allclose(dparams["norm"]["scale"], (g * centred).sum((0, 1, 2)), **close)
    np.testing.assert_allclose(dparams["norm"]["bias"], g.sum((0, 1, 2)), **close)
    jax.tree.map(np.testing.assert_array_equal, kept, old)

    y, _, updated = run(False, variables["params"], x)
    want, want_updated = train(variables, x)
    np.testing.assert_allclose(y, want, **close)
    jax.tree.map(np.testing.assert_allclose, updated, want_updated["batch_stats"]["norm"])


@pytest.mark.parametrize("shape", [(8, 4, 4, 3), (8, 3)], ids=str)
def test_a_masked_batch_equals_the_smaller_batch(shape):
    x, variables = drawn(*shape), batch_variables(3)
    keep = np.array([0, 1, 2, 4, 7])
    mask = np.isin(np.arange(8), keep)
    x[~mask] = 1e3  # what stands in the padding must not matter
    weights = drawn(*shape, seed=1)

    @jax.jit
    def run(params, x, weights, mask):
        def loss(params, x):
            y, updated = Layer("batch").apply(
                {**variables, "params": params}, x, mask=mask, mutable=["batch_stats"]
            )
            each = jnp.sum((y * weights).reshape(len(x), -1), axis=1)
            return jnp.sum(each if mask is None else jnp.where(mask, each, 0)), (y, updated)

        (_, aux), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
        return aux, grads

    (y, updated), (dparams, dx) = run(variables["params"], x, weights, mask)
    (want_y, want_updated), (want_dparams, want_dx) = run(
        variables["params"], x[keep], weights[keep], None
    )
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(y[keep], want_y, **close)
    np.testing.assert_allclose(dx[keep], want_dx, **close)
    np.testing.assert_array_equal(dx[~mask], 0)
    for ours, theirs in ((updated, want_updated), (dparams, want_dparams)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), ours, theirs)


def test_a_batch_without_any_sample_stays_finite():
    out = train(batch_variables(3), drawn(4, 2, 2, 3), np.zeros(4, bool))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out))


def test_a_constant_channel_is_not_amplified():
    # E[x^2] - E[x]^2 of a large constant rounds below zero
    x = np.full((32, 3, 3, 1), 333.3, np.float32)
    y, _ = train(batch_variables(1), x)
    assert np.isfinite(y).all()


def test_initial_statistics_do_not_see_the_first_batch():
    variables = Layer("batch").init(jax.random.key(0), drawn(4, 2, 2, 3))
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["var"], np.ones(3))


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (12, 4), (3, 1)])
def test_group_norm_equals_numpy_for_each_sample_alone(channels, groups):
    x = drawn(2, 3, 4, channels)
    layer = Layer("group")
    variables = layer.init(jax.random.key(0), x)
    assert set(variables) == {"params"}
    apart = x.reshape(2, 12, groups, channels // groups)
    mean = apart.mean((1, 3), keepdims=True)
    want = (apart - mean) / np.sqrt(apart.var((1, 3), keepdims=True) + 1e-5)
    y = layer.apply(variables, x)
    np.testing.assert_allclose(y, want.reshape(x.shape), rtol=1e-4, atol=1e-4)


def test_no_norm_changes_nothing_and_has_no_variables():
    x = drawn(2, 3, 4, 5)
    y, variables = Layer("none").init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(y, x)
    assert not variables


def test_an_unknown_norm_is_refused():
    with pytest.raises(
        ConfigError, match=r"model.norm: cnn .* 'layer'. Allowed: batch, group, none"
    ):
        check_norm("cnn", "layer")
