"""The advice, through its public doors."""

import math

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import cli
from fedcode_jax.advice import Floor, advise, steady_accuracy
from fedcode_jax.config import ExperimentConfig, from_yaml, replace
from fedcode_jax.errors import ConfigError

TINY = {
    "rounds": 10,
    "data.name": "synthetic",
    "data.shape": [6],
    "data.num_classes": 3,
    "data.train_size": 90,
    "data.test_size": 60,
    "model.name": "mlp",
    "partition.num_clients": 3,
    "local.epochs": 1,
    "local.batch_size": 8,
    "algorithm.num_clusters": 4,
}


def words(settings):
    found = []
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        found += [f"--{name.replace('_', '-')}", *map(str, values)]
    return found


def test_the_command(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [*words(TINY), "--loss", "0.3", "--seeds", "3", "--out", str(out)]
    assert cli.main(["advise", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "Recommendation" in shown
    page = (out / "advice.md").read_text()
    for heading in ("## Recommendation", "## What was tried", "## Rollout", "### 1. Pilot"):
        assert heading in page
    assert "FedAvg" in page
    one_file = (out / "advice.html").read_text()
    assert "data:image/png;base64," in one_file
    assert "<table>" in one_file
    assert 'src="frontier.png"' not in one_file
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")
    config = from_yaml(out / "config.yaml")
    assert config.algorithm.name in page.lower()
    assert config.data == replace(ExperimentConfig(), TINY).data

    # Once more: everything is there, and nothing is run again.
    before = (out / "advice.md").read_bytes()
    assert cli.main(["advise", *arguments]) == 0
    assert "finished before" in capsys.readouterr().out
    assert (out / "advice.md").read_bytes() == before

    # Another question: the answer is not replaced without being asked.
    other = ["advise", *words(TINY), "--floor", "0.9999999", "--out", str(out)]
    assert cli.main(other) == 2
    assert "answers another question" in capsys.readouterr().err
    assert (out / "advice.md").read_bytes() == before
    assert cli.main([*other, "--overwrite"]) == 1
    assert "Impossible" in capsys.readouterr().out
    assert (out / "advice.md").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--floor", "95"], "floor: 95.0 cannot be used"),
        (["--loss", "2"], "loss: 2.0 cannot be used"),
        (["--floor", "0.9", "--loss", "0.1"], "give either floor"),
        (["--seeds", "2"], "seeds: 2 cannot be used"),
        (["--network.uplink-mbit", "0"], "network.uplink_mbit: 0 cannot be used"),
    ],
)
def test_mistakes_are_told_before_anything_runs(arguments, says, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["advise", *words(TINY), *arguments, "--out", str(out)]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("asked", [[], ["--overwrite"]])
def test_a_folder_with_something_else_is_left_alone(asked, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("keep")
    assert cli.main(["advise", *words(TINY), *asked, "--out", str(tmp_path)]) == 2
    assert "holds no advice" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_nothing_that_runs_to_its_end_is_an_error():
    config = replace(
        ExperimentConfig(),
        {
            **TINY,
            "rounds": 2,
            "algorithm.num_clusters": 2,
            "local.optimizer": "sgd",
            "local.learning_rate": 1e30,
        },
    )
    with pytest.raises(ConfigError, match="no run came to its end"):
        advise(config, floor=Floor(loss=0.1), seeds=3)


@pytest.mark.slow
def test_the_recommendation_holds_with_other_seeds(tmp_path):
    """Digits on a link of 1 and 10 Mbit/s, two points under FedAvg at most."""
    config = replace(ExperimentConfig(), {"model.name": "mlp"})
    advice = advise(config, floor=Floor(loss=0.02), out=str(tmp_path / "advice"))
    assert advice.verdict.status == "kept"
    best = advice.verdict.best
    assert best.bytes < advice.yardstick.bytes / 10
    losses = []
    for seed in range(100, 105):
        runs = [
            fedcode_jax.run(replace(one, {"seed": seed}))
            for one in (advice.recommended, replace(config, {"algorithm.name": "fedavg"}))
        ]
        sent = runs[0].summary["total_uplink_bytes"] + runs[0].summary["total_downlink_bytes"]
        assert sent == pytest.approx(best.bytes, rel=0.01)
        assert runs[0].summary["simulated_seconds"] == pytest.approx(best.seconds, rel=0.01)
        period = math.lcm(best.choice.server_period, best.choice.client_period)
        own = steady_accuracy(runs[0].records, period)
        losses.append(steady_accuracy(runs[1].records, 10) - own)
    assert np.mean(losses) <= 0.02
