"""FedPM's parts, and that both of its forms learn; whole rounds are in tests/simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import schedules, wire
from fedcode_jax.algorithms import At, fedpm, fedpm_mrc, masked
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Kind, Message

MODEL = {
    "params": {
        "conv": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.zeros(4)},
        "norm": {"scale": jnp.zeros(4), "bias": jnp.ones(4)},
        "head": {"kernel": jnp.ones((16, 5))},
    },
    "batch_stats": {"norm": {"mean": jnp.ones(4), "var": jnp.ones(4)}},
}


def test_frozen_weights_are_signs_by_the_fan_in_of_their_layer():
    layout = masked.layout_of(MODEL)
    found = masked.frozen(layout, jnp.uint32(1), np.e)["params"]
    for name, fan_in in (("conv", 18), ("head", 16)):
        for leaf in found[name].values():
            np.testing.assert_allclose(np.abs(leaf), np.e / np.sqrt(fan_in), rtol=1e-6)
            assert abs(np.mean(np.sign(leaf))) <= 0.5 or leaf.size < 8
    np.testing.assert_array_equal(found["norm"]["scale"], np.ones(4))
    np.testing.assert_array_equal(found["norm"]["bias"], np.zeros(4))
    again = masked.frozen(layout, jnp.uint32(2), np.e)["params"]
    assert np.any(again["head"]["kernel"] != found["head"]["kernel"])


def test_the_gradient_goes_straight_through_the_mask_and_norms_get_none():
    layout = masked.layout_of(MODEL)
    weights = masked.frozen(layout, jnp.uint32(1), 1.0)["params"]
    scores = jax.tree.map(
        lambda leaf: jnp.linspace(-2.0, 2.0, leaf.size).reshape(leaf.shape), weights
    )
    view, at = masked.objective().view, At(jnp.int32(0), jnp.int32(1))
    factors = jax.tree.map(lambda leaf: jnp.arange(1.0, leaf.size + 1).reshape(leaf.shape), weights)

    def loss(scores, key):
        products = jax.tree.map(
            lambda a, b: jnp.sum(a * b), view(scores, weights, at, key), factors
        )
        return jax.tree.reduce(jnp.add, products)

    grads = jax.grad(loss)(scores, jax.random.key(0))
    for name in ("conv", "head"):
        for part, grad in grads[name].items():
            theta = 1 / (1 + np.exp(-np.asarray(scores[name][part])))
            expected = factors[name][part] * weights[name][part] * theta * (1 - theta)
            np.testing.assert_allclose(grad, expected, rtol=1e-5)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["norm"]))
    first, second = (view(scores, weights, at, jax.random.key(k)) for k in (0, 1))
    kept = np.asarray(first["head"]["kernel"]) / np.asarray(weights["head"]["kernel"])
    assert set(np.unique(kept)) == {0.0, 1.0}
    assert np.any(first["head"]["kernel"] != second["head"]["kernel"])


def test_probabilities_go_down_as_floats_unless_steps_are_asked_for():
    server, store = fedpm().init(MODEL, 1)
    sends, key = schedules.always()(1), jax.random.key(0)
    message, _ = fedpm().broadcast(server, sends, key)
    np.testing.assert_array_equal(message.sections[0].values, server.probabilities)
    start = fedpm().receive(store, message, None)
    found, stats = masked.masked_and_stats(server.layout, start.weights)
    theta = np.asarray(server.probabilities, float)
    np.testing.assert_allclose(found, np.log(theta / (1 - theta)), atol=1e-5)
    np.testing.assert_array_equal(stats[0], np.ones(8))
    # In steps, the mean over draws is the probability itself.
    broadcast = jax.jit(jax.vmap(lambda k: fedpm(levels=3).broadcast(server, sends, k)[0].sections))
    theta, *_ = broadcast(jax.random.split(key, 3000))
    mean = np.asarray(theta.centers)[0][np.asarray(theta.codes)].mean(axis=0)
    assert np.abs(mean - server.probabilities).max() < 5 * 0.5 / 3 / np.sqrt(3000)


def test_as_many_steps_as_clients_lose_nothing():
    algorithm = fedpm(levels=4)
    server, _ = algorithm.init(MODEL, 4)
    n = server.probabilities.size
    masks = np.random.default_rng(0).integers(0, 2, (4, n)).astype(np.uint8)
    mask = wire.Coded(jnp.tile(jnp.array([0.0, 1.0]), (4, 1)), jnp.asarray(masks), "entropy")
    uploads = Message(jnp.full(4, int(Kind.WEIGHTS)), (mask, wire.Dense(jnp.ones((4, 8)))))
    sends = schedules.always()(1)
    server = algorithm.aggregate(server, uploads, jnp.array([1.0, 5.0, 2.0, 9.0]), sends)
    np.testing.assert_allclose(server.probabilities, 0.01 + 0.98 * masks.mean(axis=0), atol=1e-6)
    message, _ = algorithm.broadcast(server, sends, jax.random.key(1))
    sent = wire.values(message.sections[0])
    assert np.mean(np.abs(sent - server.probabilities) < 1e-6) > 0.98  # but for rounding


@pytest.mark.parametrize(
    ("make", "setting", "value"),
    [
        (fedpm, "levels", 256),
        (fedpm, "coding", "conditional"),
        (fedpm, "reset", 0),
        (fedpm, "scale", 0.0),
        (fedpm_mrc, "block", 0),
        (fedpm_mrc, "bits", 17),
        (fedpm_mrc, "samples", 256),
        (fedpm_mrc, "scale", -1.0),
    ],
)
def test_a_setting_that_cannot_be_is_named(make, setting, value):
    with pytest.raises(ConfigError, match=f"^algorithm.{setting}: "):
        make(**{setting: value})
    with pytest.raises(ConfigError, match=f"^algorithm.{setting}: "):
        replace(
            ExperimentConfig(),
            {"algorithm.name": make.__name__, f"algorithm.{setting}": value},
        )


@pytest.mark.parametrize("make", [fedpm, fedpm_mrc])
def test_a_model_with_nothing_to_mask_is_refused(make):
    norm = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}
    with pytest.raises(ConfigError, match=r"^algorithm\.name: .*neither kernels nor biases"):
        make().init({"params": {"norm": norm}}, 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "fedpm", "levels": 10},
        pytest.param({"name": "fedpm_mrc"}, marks=pytest.mark.slow),
    ],
    ids=lambda settings: settings["name"],
)
def test_it_learns_digits(settings):
    config = replace(
        ExperimentConfig(),
        {
            "rounds": 8,
            "eval_every": 8,
            "model.name": "mlp",
            "local.learning_rate": 0.1,
            **{f"algorithm.{name}": value for name, value in settings.items()},
        },
    )
    summary = fedcode_jax.run(config).summary
    assert summary["final_accuracy"] > 0.75
    assert summary["reduction_vs_fedavg"] > 14
