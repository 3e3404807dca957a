"""Losses and metrics against NumPy, and what is refused in their place."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import (
    ClientData,
    LocalTraining,
    check_loss,
    check_metric,
    check_metrics,
    train,
)
from fedcode_jax.clients.losses import cross_entropy, losses, masked_sum, metrics, top5
from fedcode_jax.errors import ConfigError

rng = np.random.default_rng(0)
LOGITS, LABELS = rng.normal(size=(50, 8)).astype(np.float32), rng.integers(0, 8, 50)


def margin(logits, labels):
    """A multi-class hinge loss, max(0, 1 + the largest other logit - the right one)."""
    right = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    others = jnp.where(jnp.arange(logits.shape[1]) == labels[:, None], -jnp.inf, logits)
    return jnp.maximum(0, 1 + others.max(axis=1) - right)


def test_cross_entropy_is_that_of_the_softmax():
    shifted = np.float64(LOGITS)
    expected = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(50), LABELS]
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), expected, rtol=1e-5)


def test_top5_is_the_five_largest_and_ties_go_to_the_first():
    order = np.argsort(-LOGITS, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(top5(LOGITS, LABELS), (order == LABELS[:, None]).any(axis=1))
    assert top5(jnp.zeros((8, 8)), jnp.arange(8)).tolist() == [True] * 5 + [False] * 3
    assert top5(LOGITS[:, :3], jnp.arange(50) % 3).all()


def test_what_the_mask_leaves_out_may_be_anything():
    values = jnp.array([1.0, jnp.inf, 2.0, jnp.nan])
    assert float(masked_sum(values, jnp.array([True, False, True, False]))) == 3.0


def test_those_with_a_name_are_in_order():
    for function in losses.values():
        check_loss(function, 10)
    check_metrics(tuple(metrics.items()), 10)
    check_loss(margin, 3)


def raising(logits, labels):
    raise ValueError("several\n lines")


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (3, "3 is no function"),
        (raising, r"with logits f32\[3, 4\] and labels i32\[3\] raises ValueError: several lines"),
        (lambda z, y: z, r"gives float32\[3, 4\] for 3 samples; it must give float32\[3\]"),
        (lambda z, y: z[:3, 0], r"gives float32\[3\] for 5 samples"),
        (lambda z, y: (z[:, 0], y), "gives tuple for 3 samples"),
        (lambda z, y: y, r"gives int32\[3\]"),
        (lambda z, y: z[:, 0].astype(jnp.bfloat16), r"gives bfloat16\[3\]"),
        (lambda z, y: np.asarray(z)[:, 0], "raises TracerArrayConversionError"),
    ],
)
def test_what_is_no_loss_or_metric_is_told_in_one_line(function, complaint):
    for check, setting in ((check_loss, "local.loss"), (check_metric, "metrics.own")):
        with pytest.raises(ConfigError, match=complaint) as told:
            check(function, 4, setting)
        assert str(told.value).startswith(f"{setting}: ")
        assert "\n" not in str(told.value)


def test_a_metric_may_be_bool_and_a_loss_may_not():
    check_metric(lambda z, y: z[:, 0] > 0, 4)
    with pytest.raises(ConfigError, match=r"loss: .* raises|loss: gives bool\[3\]"):
        check_loss(lambda z, y: z[:, 0] > 0, 4)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["top5", "top5"], "'top5' occurs twice"),
        (["accuracy"], "'accuracy' is reported in any case"),
        (["top 5"], "'top 5' is no name"),
        ([3], "3 is no name"),
    ],
)
def test_names_of_metrics_are_names_of_figures(names, complaint):
    with pytest.raises(ConfigError, match=f"metrics: {complaint}"):
        check_metrics([(name, top5) for name in names], 10)


@pytest.mark.parametrize("axis", ["map", "vmap"])
def test_clients_minimise_the_loss_they_are_given(axis):
    """One batch, so that the order of its samples does not matter; four rows fill it up."""
    size, rate = 6, 0.1
    x, y = rng.normal(size=(size, 5)).astype(np.float32), rng.integers(0, 3, size)
    data = ClientData.from_arrays(
        x, y, np.zeros(5, np.float32), np.ones(5, np.float32), (np.arange(size),)
    )
    model = models.mlp(3, hidden=())
    weights = models.init(model, jax.random.key(0), (5,))
    training = LocalTraining(model, optax.sgd(rate), 1, size + 4, loss=margin)
    lift = (lambda tree: tree) if axis == "map" else lambda t: jax.tree.map(lambda a: a[None], t)
    done = jax.jit(
        lambda: train(
            *(training, axis, Start(lift(weights)), data, lift(jnp.int32(0))),
            *(lift(jax.random.key(1)),),
            max_size=size,
        )
    )()
    kernel = np.float64(weights["params"]["head"]["kernel"])
    logits = x @ kernel + np.asarray(weights["params"]["head"]["bias"])
    others = np.where(np.arange(3) == y[:, None], -np.inf, logits)
    values = 1 + others.max(axis=1) - logits[np.arange(size), y]
    assert np.ravel(done.loss)[0] == pytest.approx(np.maximum(values, 0).mean(), rel=1e-5)
    active = (values > 0)[:, None]
    slope = active * (np.eye(3)[others.argmax(axis=1)] - np.eye(3)[y]) / size
    found = np.asarray(done.weights["params"]["head"]["kernel"]).reshape(kernel.shape)
    np.testing.assert_allclose(found, kernel - rate * x.T @ slope, atol=1e-6)
