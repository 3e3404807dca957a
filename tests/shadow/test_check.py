"""``--check`` passes what is right, and fails on what is wrong by little."""

import importlib

import jax
import jax.numpy as jnp
import pytest

import fedcode_jax
from fedcode_jax.clients import local_step
from fedcode_jax.clients.losses import cross_entropy
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import CheckError, ConfigError

SMALL = {
    "rounds": 1,
    "data.train_part": 150,
    "data.test_part": 90,
    "model.name": "mlp",
    "model.hidden": (8,),
    "partition.name": "imbalanced",
    "partition.num_clients": 3,
    "local.epochs": 1,
    "algorithm.name": "fedavg",
}


def checked(changes=None, **given):
    settings = {**SMALL, **(changes or {})}
    if settings["model.name"] != "mlp":
        del settings["model.hidden"]
    config = replace(ExperimentConfig(), settings)
    return fedcode_jax.run(config, check=config.rounds, **given).summary["check"]


def fails(quantity, changes=None, **given):
    with pytest.raises(CheckError, match=quantity) as caught:
        checked(changes, **given)
    return str(caught.value)


@pytest.mark.slow
def test_a_run_passes_and_says_what_was_compared():
    found = checked()
    assert found["trained weights"]["compared"] == 3
    assert {"gradient", "server's weights", "test loss, server"} <= set(found)
    for name, each in found.items():
        assert each["difference"] <= each["bound"], name
    assert 0 < found["trained weights"]["difference"] < 1e-4
    assert found["gradient"]["difference"] < 1e-6


@pytest.mark.slow
def test_a_mean_without_sample_counts_is_found(monkeypatch):
    module = importlib.import_module("fedcode_jax.algorithms.fedavg")
    monkeypatch.setattr(module, "weighted_mean", lambda values, _: jnp.mean(values, axis=0))
    assert "server's weights" in fails("server's weights")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lion"])
def test_a_step_that_is_a_thousandth_too_long_is_found(monkeypatch, optimizer):
    apply = local_step.optax.apply_updates

    def longer(params, updates):
        return apply(params, jax.tree.map(lambda u: 1.001 * u, updates))

    monkeypatch.setattr(local_step.optax, "apply_updates", longer)
    assert "learning rate" not in fails("trained weights", {"local.optimizer": optimizer})


@pytest.mark.slow
def test_a_learning_rate_that_is_a_thousandth_too_large_is_found(monkeypatch):
    opening = importlib.import_module("fedcode_jax.simulation.opening")
    decayed = opening.decayed
    monkeypatch.setattr(opening, "decayed", lambda *given: 1.001 * decayed(*given))
    assert "learning rate" in fails("trained weights")


@pytest.mark.slow
def test_a_batch_that_is_passed_over_is_found(monkeypatch):
    batch_at = local_step.batch_at

    def later(order, size, step, B):
        return batch_at(order, size, jnp.maximum(step, 1), B)

    monkeypatch.setattr(local_step, "batch_at", later)
    fails("trained weights")


@jax.custom_vjp
def off_by_a_little(losses):
    return losses


off_by_a_little.defvjp(lambda x: (x, None), lambda _, g: (1.001 * g,))


@pytest.mark.slow
def test_a_derivative_that_is_not_that_of_the_loss_is_found():
    fails("gradient", loss=lambda logits, labels: off_by_a_little(cross_entropy(logits, labels)))


@pytest.mark.slow
def test_codes_that_are_not_of_the_nearest_centers_are_found(monkeypatch):
    coded = importlib.import_module("fedcode_jax.compress.coded_group")
    encode = coded.codebook.encode

    def wrong(centers, values, **more):
        return encode(centers, values + 0.1, **more)

    monkeypatch.setattr(coded.codebook, "encode", wrong)
    fails("codes", {"algorithm.name": "weight_clustering", "algorithm.num_clusters": 16})


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm.name": "fedcode", "schedule.start": 0, "rounds": 2},
        {"algorithm.name": "fedcode", "algorithm.merge": "rank_mean", "schedule.start": 0},
        {"algorithm.name": "skip", "schedule.start": 0},
        {"algorithm.name": "fedper"},
        {"algorithm.name": "fedprox", "rounds": 2, "local.optimizer_args": {"b1": 0.8}},
        {"algorithm.name": "stc", "network.dropout": 0.4, "rounds": 2},
        {"algorithm.name": "fedyogi", "rounds": 2},
        {"algorithm.name": "fedavgm", "rounds": 2, "local.decay": "cosine"},
        {"algorithm.name": "local_only"},
        {"execution.precision": "bfloat16"},
        {"model.name": "cnn", "model.norm": "batch", "local.optimizer": "sgd"},
        {"local.optimizer": "contrib.muon"},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_what_is_right_passes(changes):
    found = checked(changes)
    most = 0.1 if "execution.precision" in changes else 1e-3
    assert found["trained weights"]["difference"] <= most


def test_what_it_does_not_know_is_refused_by_name_before_the_run():
    for changes, named in (
        ({"algorithm.name": "fedpm"}, "'fedpm'"),
        ({"algorithm.name": "fedcode", "algorithm.block": 2}, "algorithm.block 2"),
        ({"algorithm.name": "fedavg", "algorithm.aggregation.name": "median"}, "aggregation"),
        ({"algorithm.name": "fedavg", "privacy.clip": 1.0}, "privacy.clip"),
        ({"algorithm.name": "fedavg", "faults.corrupt": 0.1}, "faults is set"),
    ):
        with pytest.raises(ConfigError, match=named):
            checked(changes)
    with pytest.raises(ConfigError, match="check: -1"):
        fedcode_jax.run(ExperimentConfig(), check=-1)
