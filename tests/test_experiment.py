"""The real command and the real run, through their public doors."""

import json
import re

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import algorithms, cli, results
from fedcode_jax.config import ExperimentConfig, from_yaml, replace
from fedcode_jax.errors import CheckpointError, ConfigError, DataError

QUICK = ["--rounds", "2", "--model.name", "mlp", "--local.epochs", "1"]


def command(*arguments):
    try:
        return cli.main(["run", *arguments])
    except SystemExit as stop:
        return stop.code


def test_a_run_writes_a_folder_that_repeats_it(tmp_path, capsys):
    out = tmp_path / "run"
    assert command(*QUICK, "--out", str(out)) == 0
    shown = capsys.readouterr().out
    assert "reduction against FedAvg" in shown
    assert re.search(r"padding waste +0\.0 %", shown)
    assert "side by side" in shown or "one after another" in shown
    names = {path.name for path in out.iterdir()}
    assert names == {
        "config.yaml", "metrics.jsonl", "metrics.csv", "summary.json", "evaluation.json",
        "curves.png", "partition.txt", "partition.png", "checkpoints",
    }  # fmt: skip
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["round"] for record in records] == [1, 2]
    assert {
        "round", "test_accuracy", "test_loss", "train_loss", "uplink_bytes", "downlink_bytes",
        "cumulative_bytes", "exchange", "simulated_seconds", "wall_seconds",
    } <= records[0].keys()  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["final_accuracy"] == records[-1]["test_accuracy"]
    assert summary["total_uplink_bytes"] == sum(r["uplink_bytes"] for r in records)
    assert summary["partition_checksum"] in (out / "partition.txt").read_text()

    again = tmp_path / "again"
    assert command("--config", str(out / "config.yaml"), "--out", str(again)) == 0
    drop = ("wall_seconds",)
    repeated = [json.loads(line) for line in (again / "metrics.jsonl").read_text().splitlines()]
    for a, b in zip(records, repeated, strict=True):
        assert {k: v for k, v in a.items() if k not in drop} == {
            k: v for k, v in b.items() if k not in drop
        }

    # A folder that holds a run is not overwritten, unless that is asked for.
    before = (out / "metrics.jsonl").read_bytes()
    assert command(*QUICK, "--out", str(out)) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (out / "metrics.jsonl").read_bytes() == before
    assert command(*QUICK, "--rounds", "1", "--out", str(out), "--overwrite") == 0
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["round_000001"]


def test_resume_goes_on_bitwise_from_the_latest_checkpoint(tmp_path, capsys):
    config = replace(
        ExperimentConfig(),
        {
            "rounds": 4,
            "model.name": "mlp",
            "local.epochs": 1,
            "out": str(tmp_path / "whole"),
            "algorithm.num_clusters": 8,
        },
    )
    whole = fedcode_jax.run(config)
    part = replace(config, {"out": str(tmp_path / "part"), "rounds": 3, "checkpoint_every": 2})
    fedcode_jax.run(part)
    kept = tmp_path / "part" / "checkpoints"
    assert sorted(p.name for p in kept.iterdir()) == ["round_000002", "round_000003"]
    resumed = fedcode_jax.run(replace(part, {"rounds": 4}), resume=True)
    np.testing.assert_array_equal(
        resumed.weights["params"]["head"]["kernel"], whole.weights["params"]["head"]["kernel"]
    )
    stored = results.read(tmp_path / "part")
    assert [record["round"] for record in stored.records] == [1, 2, 3, 4]
    assert from_yaml(stored.config_text).rounds == 4
    assert stored.summary["total_uplink_bytes"] == whole.summary["total_uplink_bytes"]
    with pytest.raises(ConfigError, match="seed"):
        fedcode_jax.run(replace(part, {"seed": 5}), resume=True)
    with pytest.raises(CheckpointError):
        fedcode_jax.run(replace(part, {"out": str(tmp_path / "none")}), resume=True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--algorithm.name", "fedcod"], "Did you mean 'fedcode'"),
        (["--data.name", "digit"], "Did you mean 'digits'"),
        (["--model.name", "resnet"], "Did you mean 'resnet"),
        (["--partition.name", "dirichlett"], "Did you mean 'dirichlet'"),
        (["--local.optimizer", "adamm"], "Did you mean 'adam'"),
        (["--local.fix-norm-after", "3"], "cnn has no batch norm here"),
        (["--algorithm.num-clusters", "0"], "algorithm.num_clusters"),
        (["--algorithm.num-clusters", "65537"], "65536"),
        (["--algorithm.coding", "entropic"], "Did you mean 'entropy'"),
        (["--algorithm.block", "0"], "algorithm.block"),
        (["--algorithm.rate-weight", "0.1"], "algorithm.rate_weight: 0.1 has no use"),
        (["--algorithm.groups", "kernel=coded"], "'bias' is missing"),
        (["--partition.name", "dirichlet", "--partition.alpha", "0"], "partition.alpha"),
        (["--schedule.server-period", "0"], "schedule.server_period"),
        (["--schedule.client-period", "0"], "schedule.client_period"),
        (["--partition.num-clients", "2000"], "2,000 clients|2000"),
        (["--clients-per-round", "11"], "clients_per_round"),
        (["--data.name", "npz"], "data.path"),
        (["--data.name", "npz", "--data.path", "nowhere.npz"], "nowhere.npz"),
        (["--execution.client-axis", "map", "--execution.chunk", "4"], "execution.chunk"),
        (["--resume", "nowhere"], "'nowhere' is not the folder of a run"),
        (["--log", "tensorbord"], "log: unknown name 'tensorbord'. Did you mean 'tensorboard'"),
        (["--log", "my_loggers:mine"], "log: 'my_loggers:mine' cannot be found"),
        (["--log", "wandb", "wandb"], "log: .* it must be a list of different names"),
        (["--evaluate-clients", "some"], "evaluate_clients: 'some' cannot be used"),
    ],
)
def test_bad_input_is_one_clear_line_and_code_2(
    arguments, complaint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    shown = capsys.readouterr()
    lines = shown.err.strip().splitlines()
    assert re.search(complaint, shown.err)
    assert len(lines) == 1
    assert lines[0].startswith("fedcode: error: ")
    assert not (tmp_path / "runs").exists()


def test_labels_out_of_range_and_malformed_files_lose_nothing(tmp_path):
    path = tmp_path / "own.npz"
    arrays = {
        "train_x": np.zeros((20, 4), np.float32),
        "train_y": np.arange(20) % 2,
        "test_x": np.zeros((4, 4), np.float32),
        "test_y": np.array([0, 1, 0, 2]),
    }
    np.savez(path, **arrays)
    config = replace(
        ExperimentConfig(),
        {"data.name": "npz", "data.path": (str(path),), "out": str(tmp_path / "out")},
    )
    with pytest.raises(DataError, match="test_y"):
        fedcode_jax.run(config)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"own\.npz"):
        fedcode_jax.run(config)
    assert not (tmp_path / "out").exists()


NEEDED = {
    "fedavg_every": {"algorithm.period": 2},
    "fedbif": {"local.learning_rate": 3e-4},
    "fedcompress": {"local.epochs": 20, "local.learning_rate": 1e-2},  # far enough for 8 centers
    "fedpm": {"local.learning_rate": 0.1},
    "fedpm_mrc": {"local.learning_rate": 0.1, "algorithm.block": 16},
    "scaffold": {"local.optimizer": "sgd", "local.learning_rate": 0.1},
}


def after_rounds(name, rounds=4):
    settings = {"rounds": rounds, "eval_every": rounds, "model.name": "mlp"}
    own = {"local.learning_rate": 3e-3, "algorithm.name": name, **NEEDED.get(name, {})}
    return fedcode_jax.run(replace(ExperimentConfig(), {**settings, **own})).summary


@pytest.mark.parametrize("name", algorithms.registry)
def test_every_algorithm_runs_and_learns(name):
    assert after_rounds(name)["final_accuracy"] > 0.6


def test_codebook_rounds_are_what_saves_the_most():
    names = ("fedavg", "skip", "fedcode", "weight_clustering")
    reductions = {name: after_rounds(name)["reduction_vs_fedavg"] for name in names}
    assert reductions["fedavg"] == 1
    assert reductions["skip"] > reductions["fedcode"] > reductions["weight_clustering"] > 4


CODED = {
    "rounds": 4,
    "model.name": "mlp",
    "local.epochs": 1,
    "algorithm.num_clusters": 16,
    "clients_per_round": 4,
}


def check_wire(summary, messages):
    check = summary["wire_check"]
    assert check["messages"] == messages
    assert check["counted_bytes"] == summary["total_uplink_bytes"] + summary["total_downlink_bytes"]
    assert check["encoded_bytes"] == pytest.approx(check["counted_bytes"], rel=0.002)
    assert check["largest_difference"] <= 0.01


def test_wire_check_encodes_every_message_of_a_run(tmp_path, capsys):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in CODED.items()]
    out = ["--out", str(tmp_path), "--overwrite"]
    assert command(*options, *out, "--algorithm.coding", "entropy", "--wire-check") == 0
    assert "messages decoded as sent" in capsys.readouterr().out
    check_wire(json.loads((tmp_path / "summary.json").read_text()), 4 * 4 * 2)


def test_codings_change_bytes_and_nothing_else():
    base = replace(ExperimentConfig(), CODED)
    runs = {
        coding: fedcode_jax.run(replace(base, {"algorithm.coding": coding}), wire_check=True)
        for coding in ("fixed", "adaptive", "conditional")
    }
    accuracies = {c: [r["test_accuracy"] for r in run.records] for c, run in runs.items()}
    assert accuracies["fixed"] == accuracies["adaptive"] == accuracies["conditional"]
    for run in runs.values():
        check_wire(run.summary, 4 * 4 * 2)
    fixed = runs["fixed"].summary["wire_check"]
    assert fixed["encoded_bytes"] == fixed["counted_bytes"]
    sent = {coding: run.records[-1]["cumulative_bytes"] for coding, run in runs.items()}
    assert sent["conditional"] < 0.9 * sent["adaptive"] < 0.9 * sent["fixed"]


def test_conditional_runs_resume_with_what_both_sides_hold(tmp_path):
    config = replace(
        ExperimentConfig(),
        {
            "rounds": 4,
            "model.name": "mlp",
            "local.epochs": 1,
            "algorithm.num_clusters": 8,
            "algorithm.coding": "conditional",
            "out": str(tmp_path / "whole"),
        },
    )
    whole = fedcode_jax.run(config)
    part = replace(config, {"out": str(tmp_path / "part"), "rounds": 2})
    fedcode_jax.run(part)
    resumed = fedcode_jax.run(replace(part, {"rounds": 4}), resume=True, wire_check=True)
    counted = [record["uplink_bytes"] for record in resumed.records]
    assert counted == [record["uplink_bytes"] for record in whole.records]
    assert resumed.summary["wire_check"]["messages"] == 2 * 10 * 2


def test_yaml_of_a_run_is_the_config_of_the_run(tmp_path):
    config = replace(
        ExperimentConfig(),
        {"rounds": 1, "model.name": "mlp", "algorithm.name": "fedavg", "out": str(tmp_path / "a")},
    )
    fedcode_jax.run(config)
    assert from_yaml((tmp_path / "a" / "config.yaml").read_text()) == config
