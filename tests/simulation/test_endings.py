"""How runs end and are checked, whatever their plan and precision."""

import jax
import jax.numpy as jnp
import pytest

import fedcode_jax
from fedcode_jax import algorithms
from fedcode_jax.cli import main
from fedcode_jax.clients import device_work
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.results.report.runs import read_run
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

    monkeypatch.setattr(segment, "evaluate_each", noted("evaluation", segment.evaluate_each))
    monkeypatch.setattr(device_work, "train", noted("training", device_work.train))
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
    own = run({}, algorithm=algorithms.fedavg()).summary["algorithm"]
    assert own.startswith("given float_messages ")


def test_a_run_is_resumed_with_the_algorithm_that_it_had(tmp_path):
    out = {"out": str(tmp_path / "own")}
    own = algorithms.updates(objective=algorithms.Objective(penalty=lambda params, start: 0.0))
    first = run(out, algorithm=own)
    with pytest.raises(ConfigError, match=r"algorithm.name: 'fedavg', there 'given updates "):
        run(out | {"rounds": 3}, resume=True)
    resumed = run(out | {"rounds": 3}, resume=True, algorithm=own)
    assert resumed.records[:2] == first.records
    out = {"out": str(tmp_path / "named")}
    run(out)
    with pytest.raises(ConfigError, match=r"algorithm.name: 'given updates .*', there 'fedavg'"):
        run(out | {"rounds": 3}, resume=True, algorithm=own)


def test_a_run_of_ones_own_is_not_taken_for_what_its_config_names(tmp_path, capsys):
    out = str(tmp_path / "own")
    run({"out": out}, algorithm=algorithms.fedavg())
    assert main(["run", "--config", f"{out}/config.yaml", "--out", str(tmp_path / "again")]) == 2
    assert "was given in Python and is not here" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
    found = read_run(tmp_path / "own")
    assert found.settings["algorithm.name"].startswith("given ")


def test_a_run_in_which_nothing_arrives_says_so(tmp_path, capsys):
    options = ["--rounds", "2", "--model.name", "mlp", "--local.epochs", "1", "--quiet"]
    slow = ["--network.deadline", "0.0001", "--out", str(tmp_path / "slow")]
    assert main(["run", *options, *slow]) == 0
    out, err = capsys.readouterr()
    assert "no upload arrived in any round: the model is the initial one" in err
    assert "padding waste" not in out or "-100" not in out
    assert main(["run", *options, "--out", str(tmp_path / "fast")]) == 0
    assert "no upload" not in capsys.readouterr().err
