"""The next stage of a rollout, by what the one before it measured."""

import pathlib

import pytest

from fedcode_jax import cli, run
from fedcode_jax.advice import next_stage
from fedcode_jax.config import ExperimentConfig, from_yaml, replace
from fedcode_jax.errors import ConfigError

TINY = {
    "data.name": "synthetic",
    "data.shape": [6],
    "data.num_classes": 3,
    "data.train_size": 60,
    "data.test_size": 60,
    "model.name": "mlp",
    "partition.num_clients": 2,
}


def records(accuracies, period):
    return [
        {
            "round": t,
            "deployed_accuracy": a,
            "uploaded_weights": 3 * (t % period == 0),
            "clients": 4,
            "arrived": 3,
        }
        for t, a in enumerate(accuracies, 1)
    ]


def saw(top, fall, period, rounds=40):
    """Accuracy that falls evenly from each calibration to just before the next."""
    return [top - fall * (t % period) / max(period - 1, 1) for t in range(1, rounds + 1)]


@pytest.mark.parametrize(
    ("accuracies", "period", "move", "after"),
    [
        ([0.95] * 40, 1, "lengthen", 2),
        ([0.95] * 40, 16, "lengthen", 20),
        ([0.95] * 40, 20, "settle", 20),
        ([0.85] * 40, 4, "back", 2),
        ([0.85] * 40, 1, "stay", 1),
        ([0.7 + 0.0074 * t for t in range(40)], 2, "stay", 2),
        (saw(0.96, 0.02, 4), 4, "lengthen", 8),  # 0.95 in the mean, 0.94 at twice the period
        (saw(0.96, 0.08, 4), 4, "settle", 4),  # 0.92, and 0.88 at twice the period
    ],
)
def test_moves(accuracies, period, move, after):
    stage = next_stage(records(accuracies, period), period, 0.9)
    assert (stage.move, stage.next_period) == (move, after)
    assert stage.arrived == 0.75
    assert stage.rounds == 40


def test_the_fall_is_what_was_measured():
    stage = next_stage(records(saw(0.96, 0.06, 5), 5), 5, 0.5)
    assert stage.fall == pytest.approx(0.06)
    assert stage.accuracy == pytest.approx(0.96 - 0.03)


@pytest.mark.parametrize("accuracies", [[0.9] * 10, [None] * 40])
def test_too_little_to_go_by(accuracies):
    with pytest.raises(ConfigError, match=r"too few to go by; run at least 20"):
        next_stage(records(accuracies, 1), 1, 0.9)


def test_a_rollout_from_run_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pilot = {
        "rounds": 24,
        "algorithm.num_clusters": 16,
        "schedule.server_period": 1,
        "schedule.client_period": 1,
        "local.learning_rate": 1e-6,  # accuracy is stable
        "init": "runs/before",
        "init_skip": ["*/head/*"],
        "out": "runs/pilot",
    }
    before = {"rounds": 1, "out": "runs/before"}
    run(replace(ExperimentConfig(), TINY | before), quiet=True)
    run(replace(ExperimentConfig(), TINY | pilot), quiet=True)
    periods, weights = [], "runs/pilot"
    for stage in range(2):
        out = f"stages/{stage}"
        words = ["--after", weights, "--floor", "0.01", "--out", out]
        assert cli.main(["advise", *words]) == 0
        assert f"fedcode run --config {out}/config.yaml" in capsys.readouterr().out
        config = from_yaml(f"{out}/config.yaml")
        assert config.init == weights
        assert config.init_skip == ()
        periods.append(config.schedule.server_period)
        assert "Lengthen" in pathlib.Path(f"{out}/next.md").read_text()
        weights = f"runs/{stage}"
        run(replace(config, {"out": weights}), quiet=True)
    assert periods == [2, 4]
    # An accuracy that is not kept: back to the period before.
    assert cli.main(["advise", "--after", weights, "--floor", "1.0", "--out", "back"]) == 0
    assert from_yaml("back/config.yaml").schedule.server_period == 2
    capsys.readouterr()
    # Nothing is overwritten unasked, and what cannot be gone on from is told.
    assert cli.main(["advise", "--after", weights, "--floor", "0.5", "--out", "back"]) == 2
    assert "is not empty" in capsys.readouterr().err
    for more, says in (
        (["--after", "nowhere", "--floor", "0.5"], "cannot be read"),
        (["--after", weights], "needs --floor"),
        (["--after", weights, "--floor", "0.5", "--seeds", "9"], "seeds: has no use with --after"),
        (["--after", weights, "--floor", "0.5", "--rounds", "9"], "those of the run count"),
        (["--after", weights, "--floor", "7"], "floor: 7.0 cannot be used"),
    ):
        assert cli.main(["advise", *more, "--out", "other"]) == 2
        assert says in capsys.readouterr().err


def test_runs_without_a_rollout(tmp_path, capsys):
    own = {"rounds": 1, "algorithm.name": "fedavg", "out": str(tmp_path / "fedavg")}
    run(replace(ExperimentConfig(), TINY | own), quiet=True)
    words = ["--after", str(tmp_path / "fedavg"), "--floor", "0.5", "--out", str(tmp_path / "x")]
    assert cli.main(["advise", *words]) == 2
    assert "a rollout needs fedcode or skip" in capsys.readouterr().err
