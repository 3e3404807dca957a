"""Models of one's own in the form of the registry's."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from own_models import NnxNormed, Normed, Plain

from fedcode_jax import models
from fedcode_jax.errors import ConfigError

X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
KEY = jax.random.key(0)


def trained(model, variables, key=1, x=X):
    state = [name for name in variables if name != "params"]
    mask = jnp.ones(len(x), bool)
    rngs = {"dropout": jax.random.key(key)}
    return model.apply(variables, x, train=True, mask=mask, mutable=state, rngs=rngs)


def test_models_of_the_registry_are_what_they_are():
    cnn = models.cnn(3)
    assert models.adapted(cnn) is cnn


def test_what_is_adapted_stays_so():
    for model in (Plain(), NnxNormed):
        once = models.adapted(model)
        assert models.adapted(once) is once


def test_a_linen_model_that_knows_nothing_is_called_with_samples_alone():
    model = models.adapted(Plain())
    variables = models.init(model, KEY, (4,))
    expected = Plain().apply(variables, X)
    logits, state = trained(model, variables)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(model.apply(variables, X, train=False), expected)
    assert state == {}


@pytest.mark.parametrize("name", ["train", "training", "deterministic"])
def test_training_is_told_by_the_name_that_a_model_knows(name):
    class Told(nn.Module):
        if name == "train":

            def __call__(self, x, train):
                return x * (2 if train else 1)
        elif name == "training":

            def __call__(self, x, training=False):
                return x * (2 if training else 1)
        else:

            def __call__(self, x, *, deterministic=True):
                return x * (1 if deterministic else 2)

    model = models.adapted(Told())
    np.testing.assert_array_equal(model.apply({}, X, train=True), 2 * X)
    np.testing.assert_array_equal(model.apply({}, X, train=False), X)


def test_a_mask_is_given_to_those_who_take_it():
    class Masked(nn.Module):
        def __call__(self, x, mask=None):
            return x if mask is None else x * mask[:, None]

    mask = jnp.arange(8) < 3
    model = models.adapted(Masked())
    np.testing.assert_array_equal(model.apply({}, X, train=True, mask=mask)[3:], 0)


@pytest.mark.parametrize("model", [Normed(0.5), functools.partial(NnxNormed, rate=0.5)], ids=str)
def test_dropout_draws_from_the_key_of_the_step_and_only_in_training(model):
    model = models.adapted(model)
    variables = models.init(model, KEY, (4,))
    one, again, other = (trained(model, variables, key)[0] for key in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    evaluated = [model.apply(variables, X, train=False) for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)


def test_nnx_variables_are_nested_dicts_of_float32():
    class Listed(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(2)])
            self.norm = nnx.BatchNorm(4, rngs=rngs)

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.norm(x)

    variables = models.init(models.adapted(Listed), KEY, (4,))
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "layers": {name: {"bias": (4,), "kernel": (4, 4)} for name in ("0", "1")},
            "norm": {"bias": (4,), "scale": (4,)},
        },
        "batch_stats": {"norm": {"mean": (4,), "var": (4,)}},
    }
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_nnx_and_linen_twins_are_one_model():
    linen, of_nnx = models.adapted(Normed()), models.adapted(NnxNormed)
    variables = models.init(of_nnx, KEY, (4,))
    same = jax.tree.structure(models.init(linen, KEY, (4,)))
    assert jax.tree.structure(variables) == same
    for a, b in zip(
        jax.tree.leaves(trained(linen, variables)),
        jax.tree.leaves(trained(of_nnx, variables)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(
        linen.apply(variables, X, train=False), of_nnx.apply(variables, X, train=False), atol=1e-6
    )


def test_the_seed_decides_the_first_weights_of_a_class_and_not_of_an_instance():
    def differ(model):
        a, b = (models.init(models.adapted(model), jax.random.key(seed), (4,)) for seed in (0, 1))
        return not np.array_equal(a["params"]["head"]["kernel"], b["params"]["head"]["kernel"])

    assert differ(NnxNormed)
    assert differ(functools.partial(NnxNormed, 4))
    assert differ(lambda rngs: NnxNormed(rngs=rngs))
    assert not differ(NnxNormed(rngs=nnx.Rngs(0)))


def test_an_instance_is_left_as_it_is():
    module = NnxNormed(rate=0.5, rngs=nnx.Rngs(0))
    before = jax.tree.map(
        np.asarray, nnx.to_pure_dict(nnx.state(module, (nnx.Param, nnx.BatchStat)))
    )
    model = models.adapted(module)
    variables = models.init(model, KEY, (4,))
    trained(model, variables)
    model.apply(variables, X, train=False)
    after = nnx.to_pure_dict(nnx.state(module, (nnx.Param, nnx.BatchStat)))
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert not module.dropout.deterministic
    assert int(module.dropout.rngs.count[...]) == 0
    module.head.kernel[...] = jnp.zeros((6, 3))
    assert np.any(models.init(model, KEY, (4,))["params"]["head"]["kernel"])


def test_equal_models_are_equal_and_compile_once():
    traces = 0

    @functools.partial(jax.jit, static_argnums=0)
    def logits(model, variables):
        nonlocal traces
        traces += 1
        return model.apply(variables, X, train=False)

    ways = (
        lambda: Plain(),
        lambda: functools.partial(NnxNormed, rate=0.5),
        lambda: NnxNormed(rngs=nnx.Rngs(0)),
    )
    for number, make in enumerate(ways, start=1):
        for _ in range(2):
            model = models.adapted(make())
            logits(model, models.init(model, KEY, (4,)))
        assert traces == number
    one, other = (models.adapted(NnxNormed(rngs=nnx.Rngs(seed))) for seed in (0, 1))
    assert one != other
    assert models.adapted(functools.partial(NnxNormed, rate=0.1)) != models.adapted(NnxNormed)


@pytest.mark.parametrize("made", [NnxNormed, NnxNormed(rngs=nnx.Rngs(0))], ids=["class", "one"])
def test_an_nnx_model_works_under_all_transformations(made):
    model = models.adapted(made)
    seeds = jax.random.split(KEY, 3)
    variables = jax.jit(jax.vmap(lambda key: models.init(model, key, (4,))))(seeds)

    def loss(params, state, key):
        rngs = {"dropout": key}
        mutable = ["batch_stats"]
        logits, state = model.apply(
            {"params": params, **state}, X, train=True, mutable=mutable, rngs=rngs
        )
        return jnp.mean(logits**2), state

    def step(carry, key):
        params, state = carry
        grads, state = jax.grad(loss, has_aux=True)(params, state, key)
        return (jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), state), None

    @jax.jit
    @jax.vmap
    def run(variables, key):
        state = {"batch_stats": variables["batch_stats"]}
        return jax.lax.scan(step, (variables["params"], state), jax.random.split(key, 4))[0]

    params, state = run(variables, seeds)
    assert np.isfinite(params["head"]["kernel"]).all()
    assert np.any(state["batch_stats"]["norm"]["mean"])


def test_a_step_in_bfloat16_keeps_statistics_in_float32():
    for made in (Normed(), NnxNormed):
        model = models.adapted(made)
        variables = models.init(model, KEY, (4,))
        low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables["params"])
        _, state = trained(model, {**variables, "params": low}, x=jnp.bfloat16(X))
        assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (3, "model: int is no flax module; give a flax.linen.Module, a flax.nnx.Module, or"),
        (jnp.sin, "sin is no flax module"),
        (Plain, "model: Plain is a class; give an instance"),
        (lambda rngs: 3, "gives int; it must give a nnx.Module"),
        (functools.partial(nnx.Linear, 4), "building Linear raises TypeError"),
    ],
)
def test_what_is_no_model_is_refused(model, complaint):
    with pytest.raises(ConfigError, match=complaint) as told:
        models.adapted(model)
    assert "\n" not in str(told.value)
