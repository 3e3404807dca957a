"""ResNet-20 on real CIFAR-10 images, where the set is at hand."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax.config import ExperimentConfig, replace

SETS = pathlib.Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    if not (SETS / "cifar10_small").exists():
        pytest.skip("needs the CIFAR-10 subset beside the checkout")
    folder = tmp_path_factory.mktemp("cifar10")
    whole = folder / "whole.npz"
    subprocess.run([sys.executable, SETS / "unpack.py", "cifar10_small", whole], check=True)
    arrays = np.load(whole)
    path = folder / "part.npz"
    np.savez(path, **{k: arrays[k][: 1000 if k.startswith("train") else 500] for k in arrays.files})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "fedcode"])
def test_resnet20_learns_real_images(images, algorithm):
    config = replace(
        ExperimentConfig(),
        {
            "algorithm.name": algorithm,
            "data.name": "npz",
            "data.path": (str(images),),
            "model.name": "resnet20",
            "local.augment": "crop_flip",
            "local.epochs": 2,
            "local.batch_size": 20,
            "rounds": 4,
            "eval_every": 4,
        },
    )
    result = fedcode_jax.run(config)
    losses = [record["train_loss"] for record in result.records]
    assert losses[-1] < losses[0] - 0.1
    assert np.isfinite(result.summary["final_accuracy"])
    assert len(result.weights["batch_stats"]) > 0
