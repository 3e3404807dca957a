"""Runs with privacy: what they say at their end, and that the noise is in them."""

import json

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.accounting import epsilon_of
from fedcode_jax.results.table import closing_table

TINY = {
    "rounds": 2,
    "algorithm.name": "fedavg",
    "model.name": "mlp",
    "model.hidden": [4],
    "local.epochs": 1,
    "clients_per_round": 5,
    "eval_every": 2,
}


def test_a_private_run_says_what_it_promises(tmp_path):
    privacy = {"privacy.clip": 0.5, "privacy.noise_multiplier": 2.0}
    config = replace(ExperimentConfig(), {**TINY, **privacy, "out": str(tmp_path / "run")})
    result = fedcode_jax.run(config)
    told = json.loads((tmp_path / "run" / "summary.json").read_text())["privacy"]
    assert told == result.summary["privacy"]
    assert told["epsilon"] == epsilon_of([2.0] * 2, 1e-5, 5, 10)
    assert (told["noise"], told["epsilon_server"], told["delta"]) == ("central", None, 1e-5)
    cells = [list(column.cells) for column in closing_table(result.summary, network="x").columns]
    (text,) = (str(v) for name, v in zip(*cells, strict=True) if str(name) == "privacy")
    assert text.startswith(f"epsilon {told['epsilon']:.4g} at delta 1e-05")


def test_a_model_with_running_statistics_is_refused_before_anything_compiles():
    batch = {"model.name": "cnn", "model.norm": "batch", "privacy.clip": 1.0}
    del (small := dict(TINY))["model.hidden"]
    with pytest.raises(ConfigError, match=r"^privacy\.clip: .* running statistics"):
        fedcode_jax.run(replace(ExperimentConfig(), {**small, **batch}))


@pytest.mark.slow
def test_clients_side_by_side_and_one_by_one_draw_the_same_noise_and_seeds_another():
    privacy = {"privacy.clip": 0.5, "privacy.noise": "distributed", "algorithm.up.name": "qsgd"}
    found = [
        fedcode_jax.run(replace(ExperimentConfig(), {**TINY, **privacy, **changes}))
        for changes in (
            {"execution.client_axis": "vmap", "execution.chunk": 2},
            {"execution.client_axis": "map"},
            {"execution.client_axis": "map", "seed": 1},
        )
    ]
    losses = np.array([run.records[-1]["test_loss"] for run in found])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert abs(losses[2] - losses[0]) > 1e-3
