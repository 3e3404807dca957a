"""Every model on every real data set of its kind, by the command, where the sets are at hand."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fedcode_jax import models
from fedcode_jax.cli import main

SETS = pathlib.Path(__file__).parents[2] / "shared" / "data"
IMAGES = ("cifar10", "cifar100", "mnist", "fashion_mnist")
SOUND = "speech_commands_test12"
FOR_SOUND = ("cnn", "resnet8", "yamnet")
CASES = [(SOUND, model) for model in FOR_SOUND]
CASES += [(name, model) for name in IMAGES for model in models.registry if model != "yamnet"]
TESTED = 300  # so that the models, not the test set, take the time

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The path of a set by name: all its training samples, some of its test samples."""
    folder, written = tmp_path_factory.mktemp("sets"), {}

    def path_of(name):
        if not (SETS / name).exists():
            pytest.skip(f"needs {name} beside the checkout")
        if name not in written:
            whole, written[name] = folder / "whole.npz", folder / f"{name}.npz"
            subprocess.run([sys.executable, SETS / "unpack.py", name, whole], check=True)
            arrays = dict(np.load(whole))
            some = np.linspace(0, len(arrays["test_y"]) - 1, TESTED).astype(int)
            parts = {k: a[some] if k.startswith("test") else a for k, a in arrays.items()}
            np.savez(written[name], **parts)
        return written[name]

    return path_of


@pytest.mark.parametrize(("name", "model"), CASES)
def test_a_model_trains_on_a_set(name, model, sets, tmp_path):
    path = sets(name)
    if name == SOUND:
        deal = ["--partition.name", "by_user", "--partition.min-size", "20"]
        deal += ["--local.augment", "time_shift+spec_augment"]
    else:
        deal = ["--partition.num-clients", "200", "--local.augment", "crop_flip"]
    for algorithm in ("fedavg", "fedcode"):
        out = tmp_path / algorithm
        arguments = ["run", "--data.name", "npz", "--data.path", str(path), *deal]
        arguments += ["--model.name", model, "--algorithm.name", algorithm, "--out", str(out)]
        arguments += ["--clients-per-round", "2", "--local.epochs", "3", "--rounds", "3"]
        assert main([*arguments, "--local.batch-size", "16", "--eval-every", "3"]) == 0
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses = [record["train_loss"] for record in records]
        assert np.isfinite([*losses, records[-1]["test_loss"]]).all()
        assert min(losses[1:]) < losses[0]
        assert 0 <= records[-1]["deployed_accuracy"] <= 1
        evaluation = json.loads((out / "evaluation.json").read_text())
        assert len(evaluation["class_accuracy"]["server"]) == (
            100 if name == "cifar100" else 12 if name == SOUND else 10
        )
