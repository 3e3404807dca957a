"""Accuracy by class and by client, against counting one sample after another."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scored import CLASSES, MODEL, SHARES, USERS, X, Y, data_of, three_models

import fedcode_jax
from fedcode_jax import models
from fedcode_jax.clients.device_memory import sample_bytes
from fedcode_jax.clients.losses import cross_entropy
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.simulation import device_memory, evaluate
from fedcode_jax.simulation.records import worst_decile


@pytest.fixture(scope="module")
def weights():
    """Three models, as many as there are clients."""
    return three_models()


def right_of(weights):
    """bool[models, samples]"""
    every = range(len(jax.tree.leaves(weights)[0]))
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], weights) for i in every]
    logits = [np.asarray(MODEL.apply(one, X, train=False)) for one in each]
    return np.stack([one.argmax(axis=1) == Y for one in logits])


def score_of(weights, data):
    return jax.jit(lambda w, d: evaluate(MODEL, w, d))(weights, data)


def test_every_class_counts_its_own_samples(weights):
    score, right = score_of(weights, data_of(shares=SHARES)), right_of(weights)
    expected = [right[:, k == Y].mean() for k in range(CLASSES - 1)]
    np.testing.assert_allclose(score.classes[:-1], expected, atol=1e-6)
    assert np.isnan(score.classes[-1])
    assert score.accuracy == pytest.approx(right.mean(), abs=1e-6)


def test_users_of_the_test_set_are_scored_on_their_own_samples(weights):
    score, right = score_of(weights, data_of(users=USERS, shares=SHARES)), right_of(weights)
    expected = [right[:, user == USERS].mean() for user in (3, 4, 90)]  # -7 is nobody
    np.testing.assert_allclose(score.clients, expected, atol=1e-6)


def test_without_users_a_client_has_the_class_shares_of_its_training_samples(weights):
    one = jax.tree.map(lambda leaf: leaf[:1], weights)
    score, right = score_of(one, data_of(shares=SHARES)), right_of(one)[0]
    a = [right[k == Y].mean() for k in range(CLASSES - 1)]
    # the class without test samples is left out of the second client's shares
    expected = [0.5 * a[0] + 0.5 * a[1], 0.5 * a[1] + 0.5 * a[2]]
    np.testing.assert_allclose(score.clients[:2], expected, atol=1e-6)
    assert np.isnan(score.clients[2])


def test_where_every_client_has_a_model_it_is_scored_on_its_own(weights):
    score, right = score_of(weights, data_of(shares=SHARES)), right_of(weights)
    a = [[right[i, k == Y].mean() for k in range(CLASSES - 1)] for i in range(3)]
    expected = [0.5 * a[0][0] + 0.5 * a[0][1], 0.5 * a[1][1] + 0.5 * a[1][2]]
    np.testing.assert_allclose(score.clients[:2], expected, atol=1e-6)


def losses_of(weights, data):
    score = jax.jit(lambda w, d: evaluate(MODEL, w, d, client_losses=True))(weights, data)
    every = range(len(jax.tree.leaves(weights)[0]))
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], weights) for i in every]
    logits = [np.asarray(MODEL.apply(one, X, train=False)) for one in each]
    return score.client_losses, np.stack([np.asarray(cross_entropy(one, Y)) for one in logits])


def test_the_loss_of_a_client_is_on_the_samples_of_its_accuracy(weights):
    found, losses = losses_of(weights, data_of(users=USERS, shares=SHARES))
    expected = [losses[:, user == USERS].mean() for user in (3, 4, 90)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    one = jax.tree.map(lambda leaf: leaf[:1], weights)
    found, losses = losses_of(one, data_of(shares=SHARES))
    by_class = [losses[0, k == Y].mean() for k in range(CLASSES - 1)]
    expected = [np.mean(by_class[:2]), np.mean(by_class[1:])]
    np.testing.assert_allclose(found[:2], expected, rtol=1e-5)
    assert np.isnan(found[2])  # none of whose classes is tested
    assert score_of(one, data_of(shares=SHARES)).client_losses is None


def test_the_worst_decile_is_a_mean_over_a_tenth_of_the_clients():
    accuracies = np.random.default_rng(0).permutation(np.arange(30) / 100)
    assert worst_decile(accuracies) == pytest.approx((0 + 0.01 + 0.02) / 3)
    assert worst_decile(np.array([0.4, np.nan, 0.3])) == pytest.approx(0.3)
    assert worst_decile(np.array([np.nan])) is None


def test_test_samples_are_evaluated_in_batches_that_fit(monkeypatch):
    shape = (32, 32, 3)
    model = models.make("cnn", 10)
    shapes = jax.eval_shape(lambda key: models.init(model, key, shape), jax.random.key(0))
    one = sample_bytes(model, shapes, shape)
    assert one >= 3 * 32 * 32 * 16 * 4  # the first convolution has 16 channels
    compiled = [
        jax.jit(lambda w, x: model.apply(w, x, train=False))
        .lower(shapes, jax.ShapeDtypeStruct((batch, *shape), jnp.float32))
        .compile(compiler_options={"xla_backend_optimization_level": 0})
        .memory_analysis()
        .temp_size_in_bytes
        for batch in (100, 200)
    ]
    assert (compiled[1] - compiled[0]) / 100 <= one
    for free, expected in ((5 * 37 * one, 37), (0, 1), (10**15, 500), (None, 500)):
        monkeypatch.setattr(device_memory, "free_bytes", lambda machine=None, free=free: free)
        assert device_memory.evaluation_batch(model, shapes, shape) == expected


def test_a_run_says_how_its_clients_and_classes_fare(tmp_path):
    changes = {
        "model.name": "mlp",
        "rounds": 2,
        "eval_every": 2,
        "local.epochs": 1,
        "algorithm.name": "fedavg",
        "partition.name": "by_class",
        "out": str(tmp_path / "run"),
    }
    result = fedcode_jax.run(replace(ExperimentConfig(), changes))
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    by_class, clients = found["class_accuracy"]["server"], found["client_accuracy"]["server"]
    assert list(by_class) == [str(digit) for digit in range(10)]
    assert np.mean(list(by_class.values())) == pytest.approx(
        result.summary["final_accuracy"], abs=0.02
    )  # the test set has 35 to 37 samples of each class
    assert len(clients) == 10
    assert "class shares" in found["clients"]
    spread = result.summary["client_accuracy"]
    assert spread["lowest"] == spread["worst_decile"] == pytest.approx(min(clients))
    assert spread["mean"] == pytest.approx(np.mean(clients))
    assert result.records[0]["worst_decile_accuracy"] is None
    assert result.records[1]["worst_decile_accuracy"] == pytest.approx(min(clients))


def test_losses_and_metrics_are_means_over_all_samples_and_models(weights):
    """23 samples in batches of 5: the last one has two rows that do not count."""

    def absolute(logits, labels):
        return jnp.abs(logits).sum(axis=-1) + labels

    def second(logits, labels):
        return jnp.argsort(logits, axis=-1)[:, -2] == labels

    metrics = (("second", second), ("absolute", absolute))
    score = jax.jit(lambda w, d: evaluate(MODEL, w, d, loss=absolute, metrics=metrics))(
        weights, data_of()
    )
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], weights) for i in range(3)]
    logits = np.stack([np.asarray(MODEL.apply(one, X, train=False)) for one in each])
    values = np.abs(logits).sum(axis=-1) + Y
    assert float(score.loss) == pytest.approx(values.mean(), rel=1e-5)
    assert float(score.metrics["absolute"]) == pytest.approx(values.mean(), rel=1e-5)
    expected = (np.argsort(logits, axis=-1)[:, :, -2] == Y).mean()
    assert float(score.metrics["second"]) == pytest.approx(expected, abs=1e-6)
    plain = score_of(weights, data_of())
    assert plain.metrics == {}
    assert float(plain.accuracy) == float(score.accuracy)


def test_rows_that_only_fill_up_a_batch_cannot_spoil_a_metric(weights):
    """The last of the samples is repeated; here it is the only one whose metric is not finite."""
    one = jax.tree.map(lambda leaf: leaf[:1], weights)
    data = data_of()
    *_, last = np.argwhere(~np.asarray(data.mask))
    x = data.x.at[tuple(last)].set(jnp.nan)
    spoilt = data._replace(x=x)
    metrics = (("first", lambda logits, labels: logits[:, 0]),)
    found = [
        jax.jit(lambda w, d: evaluate(MODEL, w, d, metrics=metrics))(one, d) for d in (data, spoilt)
    ]
    assert np.isfinite(found[1].loss)
    assert float(found[0].loss) == float(found[1].loss)
    assert float(found[0].metrics["first"]) == float(found[1].metrics["first"])
