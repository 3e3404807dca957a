"""What choices would send, without data: against counts by hand, and against a run."""

import jax
import numpy as np
import pytest

from fedcode_jax import cli, run
from fedcode_jax.advice import choices, expected
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError

SMALL = {
    "rounds": 20,
    "data.name": "synthetic",
    "data.shape": [6],
    "data.num_classes": 3,
    "data.train_size": 60,
    "data.test_size": 30,
    "model.name": "mlp",
    "partition.num_clients": 4,
    "local.epochs": 1,
    "algorithm.groups": "params",
    "algorithm.num_clusters": 8,
}


def test_a_run_sends_by_formula_what_was_expected():
    config = replace(ExperimentConfig(), SMALL)
    choice = next(c for c in choices(config) if str(c) == "FedCode K 8, f1 5, f2 2, start 2")
    done = run(replace(config, choice.settings), quiet=True)
    values = sum(leaf.size for leaf in jax.tree.leaves(done.weights))
    found = {each.choice: each for each in expected(config, values)}[choice]
    for way, each in (("uplink", found.uplink), ("downlink", found.downlink)):
        sent = sum(record[f"{way}_formula_bits"] for record in done.records) / 8
        assert each * 4 * 20 == pytest.approx(sent, rel=1e-6)


def test_fedavg_and_the_network_by_hand():
    config = replace(ExperimentConfig(), {"rounds": 10, "network.round_trip": 0.1})
    fedavg, *others = expected(config, 10_000)
    assert (fedavg.uplink, fedavg.downlink) == (40_000, 40_000)
    assert fedavg.bytes == 10 * 10 * 80_000
    assert fedavg.seconds == pytest.approx(0.1 + 0.32 / 10 + 0.1 + 0.32)  # 1 Mbit/s up, 10 down
    assert [each.bytes for each in others] == sorted(each.bytes for each in others)
    by_name = {str(each.choice): each for each in others}
    always = by_name["FedCode K 64, f1 1, f2 1, start 2"]
    assert always.uplink == always.downlink == 10_000 * 6 / 8 + 256
    rare = by_name["skip K 64, f1 5, f2 2, start 2"]
    # Clients send in rounds 1, 2, 4, 6, 8 and 10; the server in 1, 2, 5 and 10.
    assert rare.uplink == pytest.approx(0.6 * (7500 + 256))
    assert rare.downlink == pytest.approx(0.4 * (7500 + 256))


def test_newcomers_are_sent_weights_in_any_round_and_those_away_nothing():
    config = {"rounds": 200, "network.dropout": 0.25, "clients_per_round": 2}
    found = expected(replace(ExperimentConfig(), config), 1000)
    assert found[0].bytes == pytest.approx(0.75 * 200 * 2 * 8000, rel=0.05)
    assert (found[0].uplink, found[0].downlink) == (4000, 4000)
    skip = next(each for each in found if str(each.choice) == "skip K 64, f1 5, f2 2, start 2")
    every = {str(each.choice): each for each in expected(ExperimentConfig(rounds=200), 1000)}
    assert skip.downlink > every[str(skip.choice)].downlink  # nobody is new after its round 1


@pytest.mark.parametrize("parameters", [0, -1, True, 1.5])
def test_numbers_that_are_none(parameters):
    with pytest.raises(ConfigError, match="parameters"):
        expected(ExperimentConfig(), parameters)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["advise", "--bytes-only", "--parameters", "270000", "--rounds", "30"]) == 0
    shown = capsys.readouterr().out
    assert "FedAvg" in shown
    assert "1.0x" in shown
    assert "training takes none" in " ".join(shown.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--bytes-only"], "parameters: is needed with --bytes-only"),
        (["--parameters", "5"], "parameters: has no use without --bytes-only"),
        (
            ["--bytes-only", "--parameters", "5", "--floor", "0.9"],
            "floor: has no use with --bytes-only",
        ),
        (
            ["--bytes-only", "--parameters", "5", "--loss", "0"],
            "loss: has no use with --bytes-only",
        ),
        (["--bytes-only", "--parameters", "0"], "parameters: 0 cannot be used"),
        (
            ["--bytes-only", "--parameters", "5", "--partition.name", "by_user"],
            "takes its clients from a data set",
        ),
    ],
)
def test_options_without_use_are_told(words, says, capsys):
    assert cli.main(["advise", *words]) == 2
    assert says in capsys.readouterr().err


def test_expectations_are_numbers_of_python():
    for each in expected(replace(ExperimentConfig(), {"rounds": 5}), 10):
        assert all(type(value) is float for value in each[1:])
        assert np.isfinite(each[1:]).all()
