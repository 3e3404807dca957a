"""Rounds of a user's own linen and nnx models, losses and metrics."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from own_models import NnxNormed, Normed

from fedcode_jax import experiment, models
from fedcode_jax.clients.losses import cross_entropy, top5
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.simulation import simulate
from fedcode_jax.simulation.fleet import Fleet, Member

SHAPE = (8, 8, 1)
SMALL = replace(
    ExperimentConfig(),
    {
        "rounds": 2,
        "model.name": "mlp",
        "local.epochs": 1,
        "local.optimizer": "sgd",
        "local.learning_rate": 0.1,
        "algorithm.name": "fedavg",
        "partition.name": "dirichlet",  # partial batches
        "partition.num_clients": 4,
    },
)


class Ten(nn.Module):
    """The linen model of the tests, with ten classes."""

    @nn.compact
    def __call__(self, x, deterministic):
        x = Normed(name="body")(x, deterministic)
        return nn.Dense(10, name="last")(x)


class NnxTen(nnx.Module):
    def __init__(self, rngs):
        self.body, self.last = NnxNormed(64, rngs=rngs), nnx.Linear(3, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(self.body(x))


@pytest.fixture(scope="module")
def built():
    return experiment.build(SMALL)


def with_model(program, made, *, metrics=(), **training):
    model = models.adapted(made)
    models.check_model(model, SHAPE, 10)
    trained = dataclasses.replace(program.training, model=model, **training)
    return dataclasses.replace(program, model=model, training=trained, metrics=metrics)


def run(program, weights, rounds=2):
    outcome = simulate(program, program.start(weights), rounds=rounds)
    return jax.tree.map(np.asarray, outcome.state.server.weights), outcome.records


def test_twins_of_linen_and_nnx_have_the_same_rounds(built):
    start = models.init(models.adapted(NnxTen), jax.random.key(0), SHAPE)
    (one, records), (other, others) = (
        run(with_model(built.program, made), start) for made in (Ten(), NnxTen)
    )
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)
    assert np.abs(one["batch_stats"]["body"]["norm"]["mean"]).max() > 1e-3
    assert records[-1]["train_loss"] < records[0]["train_loss"]
    for a, b in zip(records, others, strict=True):
        assert a["test_loss"] == pytest.approx(b["test_loss"], abs=1e-4)
        assert a["cumulative_bytes"] == b["cumulative_bytes"]


@pytest.mark.parametrize("made", [Ten(), NnxTen], ids=["linen", "nnx"])
def test_averages_are_fixed_from_some_round_on(built, made):
    program = with_model(built.program, made, fix_norm_after=1)
    state = program.start(models.init(program.model, jax.random.key(0), SHAPE))
    means = []
    for _ in range(2):
        state, _ = program.advance(state, 1)
        means.append(np.asarray(state.server.weights["batch_stats"]["body"]["norm"]["mean"]))
    assert np.abs(means[0]).max() > 1e-3
    np.testing.assert_allclose(means[0], means[1], rtol=1e-6)  # a mean of equal values


def test_an_nnx_model_is_coded_and_deployed(built):
    coded = experiment.build(
        replace(SMALL, {"algorithm.name": "fedcode", "algorithm.num_clusters": 8})
    )
    metrics = (("top5", top5), ("entropy", cross_entropy))
    program = with_model(coded.program, NnxTen, metrics=metrics)
    start = models.init(program.model, jax.random.key(0), SHAPE)
    _, records = run(program, start)
    last = records[-1]
    assert last["test_accuracy"] <= last["test_top5"] <= 1
    for model in ("test", "deployed"):
        assert last[f"{model}_entropy"] == pytest.approx(last[f"{model}_loss"], rel=1e-6)
    assert last["deployed_entropy"] != last["test_entropy"]

    _, plain = run(dataclasses.replace(program, metrics=()), start)
    further = {f"{model}_{name}" for model in ("test", "deployed") for name, _ in metrics}
    for a, b in zip(records, plain, strict=True):
        assert a.keys() - b.keys() == further
        assert {k: a[k] for k in b if k != "wall_seconds"} == {
            k: v for k, v in b.items() if k != "wall_seconds"
        }


def test_rounds_that_are_not_evaluated_have_no_metric(built):
    program = dataclasses.replace(built.program, metrics=(("top5", top5),))
    outcome = simulate(program, program.start(built.weights), rounds=2, eval_every=2)
    assert [record["test_top5"] is None for record in outcome.records] == [True, False]


def test_a_loss_trains_and_scores(built):
    def halved(logits, labels):
        return 0.5 * cross_entropy(logits, labels)

    rate = built.program.settings._replace(learning_rate=jnp.float32(0.2))
    training = dataclasses.replace(built.program.training, loss=halved)
    twice = dataclasses.replace(built.program, training=training, settings=rate)
    (plain, records), (half, others) = (run(one, built.weights) for one in (built.program, twice))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, half)
    for a, b in zip(records, others, strict=True):
        assert b["test_loss"] == pytest.approx(a["test_loss"] / 2, rel=1e-4)
        assert b["train_loss"] == pytest.approx(a["train_loss"] / 2, rel=1e-4)


def test_a_fleet_reports_metrics_of_each_experiment(built):
    program = dataclasses.replace(built.program, metrics=(("top5", top5),))
    members = [
        Member(built.weights, program.data, program.test, program.settings._replace(seed=seed))
        for seed in (np.uint32(0), np.uint32(1))
    ]
    fleet = Fleet(program, abreast=2)
    state, crew = fleet.start(members)
    _, output = fleet.advance(state, crew, evaluations=2, rounds=1)
    assert output.score.metrics["top5"].shape == (2, 2)
    _, alone = program.advance(program.start(built.weights), 1)
    assert float(output.score.metrics["top5"][0, 0]) == pytest.approx(
        float(alone.score.metrics["top5"]), abs=0.01
    )
