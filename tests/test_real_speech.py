"""Federated training by speaker on real Speech Commands features, where the set is at hand."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import data
from fedcode_jax.config import ExperimentConfig, replace

SETS = pathlib.Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    if not (SETS / "speech_commands_test12").exists():
        pytest.skip("needs the Speech Commands features beside the checkout")
    path = tmp_path_factory.mktemp("speech") / "speech.npz"
    subprocess.run([sys.executable, SETS / "unpack.py", "speech_commands_test12", path], check=True)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "fedcode"])
def test_speakers_learn_together(features, algorithm):
    config = replace(
        ExperimentConfig(),
        {
            "algorithm.name": algorithm,
            "data.name": "npz",
            "data.path": (str(features),),
            "partition.name": "by_user",
            "partition.min_size": 20,
            "clients_per_round": 10,
            "local.augment": "time_shift+spec_augment",
            "local.batch_size": 10,
            "rounds": 8,
            "eval_every": 8,
        },
    )
    result = fedcode_jax.run(config)
    losses = [record["train_loss"] for record in result.records]
    assert losses[-1] < losses[0] - 0.1
    assert result.summary["final_accuracy"] > 0.2  # 12 classes of equal size


@pytest.mark.slow
def test_features_are_those_of_the_front_end(features):
    """Made elsewhere, and stored in steps of 0.1; digital silence occurs in real recordings."""
    real = data.load("npz", path=features)
    silence = np.asarray(data.log_mel(np.zeros(16000, np.int16)))
    assert real.train_x.shape[1:] == (*silence.shape, 1)
    assert abs(real.train_x.min() - silence.min()) < 0.05
