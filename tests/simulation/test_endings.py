"""How runs end and are checked, whatever their plan and precision."""

import jax
import jax.numpy as jnp
import pytest

import fedcode_jax
from fedcode_jax import algorithms
from fedcode_jax.clients import cohort
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation import segment

SMALL = {"rounds": 2, "model.name": "mlp", "local.epochs": 1, "algorithm.name": "fedavg"}


def run(changes, **others):
    return fedcode_jax.run(replace(ExperimentConfig(), SMALL | changes), **others)


@pytest.mark.parametrize("part", ["server", "deployed"])
def test_a_loss_on_the_test_set_that_is_not_finite_is_a_divergence(part):
    plain = algorithms.fedavg()

    def report(server, store):
        weights, _ = plain.report(server, store)
        lost = jax.tree.map(lambda x: x * jnp.nan, weights)
        return (lost, None) if part == "server" else (weights, lost)

    result = run({"rounds": 4}, algorithm=plain._replace(report=report))
    assert result.summary["status"] == "diverged"
    assert len(result.records) == 1
    assert all(record["train_loss"] > 0 for record in result.records)
    assert run({"rounds": 4}, algorithm=plain).summary["status"] == "completed"


def test_lower_precision_is_of_local_training_alone(monkeypatch):
    seen = {}

    def noted(name, function):
        def wrapper(*arguments, **others):
            seen[name] = jax.config.jax_default_matmul_precision
            return function(*arguments, **others)

        return wrapper

    monkeypatch.setattr(segment, "evaluate", noted("evaluation", segment.evaluate))
    monkeypatch.setattr(cohort, "train", noted("training", cohort.train))
    plain = algorithms.fedavg()
    own = plain._replace(aggregate=noted("server", plain.aggregate))
    run({"execution.precision": "bfloat16"}, algorithm=own)
    assert seen == {"training": "bfloat16", "evaluation": "float32", "server": "float32"}


def test_a_probed_plan_has_its_messages_checked():
    found = run({"execution.plan": "probe"}, wire_check=True).summary
    assert found["plan"].count("probed")
    assert found["wire_check"]["messages"] == 2 * 2 * 10


def test_a_summary_says_whose_algorithm_ran():
    assert run({}).summary["algorithm"] == "fedavg"
    assert "Python" in run({}, algorithm=algorithms.fedavg()).summary["algorithm"]


def test_a_run_is_resumed_with_the_algorithm_that_it_had(tmp_path):
    out = {"out": str(tmp_path / "own")}
    own = algorithms.updates(objective=algorithms.Objective(penalty=lambda params, start: 0.0))
    first = run(out, algorithm=own)
    with pytest.raises(ConfigError, match=r"algorithm: the run in .* given in Python; pass it"):
        run(out | {"rounds": 3}, resume=True)
    resumed = run(out | {"rounds": 3}, resume=True, algorithm=own)
    assert resumed.records[:2] == first.records
    out = {"out": str(tmp_path / "named")}
    run(out)
    with pytest.raises(ConfigError, match=r"algorithm: .* leave algorithm= out"):
        run(out | {"rounds": 3}, resume=True, algorithm=own)
