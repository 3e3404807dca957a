"""Writes the tasks that all peers run: the same arrays, partition and first weights.

    python benchmarks/peers/tasks.py [names ...] [--data cifar10.npz] [--samples N] [--check]

One npz file a task and form in benchmarks/peers/.cache/. The tasks:

- ``cifar_cnn``: the CIFAR-10 benchmark that pfl-research publishes: 1,000 clients of 50 samples,
  IID, 50 clients a round, batches of 10, one epoch of SGD at 0.1, and its simple CNN.
- ``cifar_resnet20``: ResNet-20 with batch norm, 10 clients of 5,000 samples (or ``--samples``),
  all in every round, batches of 128, one epoch of SGD at 0.1 with momentum 0.9.
- ``tiny_mlp``: an MLP of 64-64-10 on scikit-learn's digits, 1,000 clients, all in every round,
  batches of 10, one epoch of SGD at 0.1. A client's size is drawn uniformly from 3 to 20, its
  samples without replacement from the 1,437 of the training set; so clients share samples.

Without ``--data`` images are random numbers of CIFAR-10's shape: as fast, and nothing to learn.

Each task has a form ``-check`` whose result does not depend on any random number: four clients of
unequal sizes, all in every round, full batches, two epochs at a small rate, no dropout. After two
rounds every correct program has the same test loss.
"""

import argparse
import json
import pathlib
from typing import Any

import jax
import numpy as np

from fedcode_jax import models

CACHE = pathlib.Path(__file__).parent / ".cache"
CHECK_SIZES = (40, 28, 50, 12)
CHECK_ROUNDS = 2
# At 0.1 ResNet-20's first steps enlarge rounding so much that PyTorch on one thread and on two
# disagree by 2 % in the loss.
CHECK_LEARNING_RATE = {"cnn_pfl": 0.01, "resnet20": 0.002, "mlp": 0.1}

_SGD = {"learning_rate": 0.1, "momentum": 0.0, "epochs": 1, "classes": 10}
SETTINGS: dict[str, dict[str, Any]] = {
    "cifar_cnn": {"model": "cnn_pfl", "batch_size": 10, "clients_per_round": 50, "dropout": True},
    "cifar_resnet20": {
        "model": "resnet20",
        "batch_size": 128,
        "clients_per_round": 10,
        "dropout": False,
        "momentum": 0.9,
    },
    "tiny_mlp": {"model": "mlp", "batch_size": 10, "clients_per_round": 1000, "dropout": False},
}


def images(path: str | None) -> dict[str, np.ndarray]:
    """CIFAR-10 from an npz file, or random images of its shape; uint8 [N, 32, 32, 3]."""
    names = ("train_x", "train_y", "test_x", "test_y")
    if path is not None:
        with np.load(path) as stored:
            return {name: stored[name] for name in names}
    rng = np.random.default_rng(0)
    shapes = ((50_000, 32, 32, 3), (50_000,), (2_000, 32, 32, 3), (2_000,))
    return {
        name: rng.integers(0, 256 if len(shape) > 1 else 10, shape, np.uint8)
        for name, shape in zip(names, shapes, strict=True)
    }


def digits() -> dict[str, np.ndarray]:
    """scikit-learn's digits as flat float32 features, the last 360 for testing."""
    from sklearn.datasets import load_digits  # the tasks on images do without

    x, y = load_digits(return_X_y=True)
    x, y = x.astype(np.float32), y.astype(np.int32)
    return {"train_x": x[:1437], "train_y": y[:1437], "test_x": x[1437:], "test_y": y[1437:]}


def partition(name: str, total: int, samples: int | None, rng: np.random.Generator) -> list:
    """The sample indices of every client of the timed form."""
    if name == "tiny_mlp":
        sizes = rng.integers(3, 21, 1000)
        return [rng.choice(total, size, replace=False) for size in sizes]
    shuffled = rng.permutation(total)
    clients = 1000 if name == "cifar_cnn" else 10
    return [part[:samples] for part in np.array_split(shuffled, clients)]


def first_weights(model: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The weights before the first round, by flax path."""
    if model == "cnn_pfl":
        return _cnn_weights(shape)
    variables = models.init(models.make(model, 10), jax.random.key(0), shape)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def _cnn_weights(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Of pfl-research's simple CNN: Glorot-uniform kernels, biases of zero."""
    rng = np.random.default_rng(0)
    flat = ((shape[0] - 4) // 2) * ((shape[1] - 4) // 2) * 64
    kernels = {
        "conv1": (3, 3, shape[2], 32),
        "conv2": (3, 3, 32, 64),
        "dense": (flat, 128),
        "head": (128, 10),
    }
    weights = {}
    for name, size in kernels.items():
        window = int(np.prod(size[:-2]))
        limit = np.sqrt(6 / (window * (size[-2] + size[-1])))
        weights[f"params/{name}/kernel"] = rng.uniform(-limit, limit, size).astype(np.float32)
        weights[f"params/{name}/bias"] = np.zeros(size[-1], np.float32)
    return weights


def write(
    name: str, *, check: bool = False, data: str | None = None, samples: int | None = None
) -> pathlib.Path:
    """Writes one form of a task.

    Args:
      name: a key of ``SETTINGS``.
      check: the form that every correct program solves alike.
      data: path of CIFAR-10 as npz, for the tasks on images.
      samples: of each client at most, for the tasks on images; None for all.

    Returns:
      The file.
    """
    arrays = digits() if name == "tiny_mlp" else images(data)
    if check:  # a part of the data is enough to tell programs apart
        arrays = {key: array[:1000] for key, array in arrays.items()}
    rng = np.random.default_rng(1)
    meta = {"name": name, **_SGD, **SETTINGS[name]}
    if check:
        sizes = np.array(CHECK_SIZES)
        clients = np.split(rng.permutation(len(arrays["train_y"]))[: sizes.sum()], sizes.cumsum())
        clients = clients[: len(sizes)]
        meta |= {"clients_per_round": len(sizes), "batch_size": int(sizes.max())}
        meta |= {"dropout": False, "epochs": 2, "learning_rate": CHECK_LEARNING_RATE[meta["model"]]}
    else:
        clients = partition(name, len(arrays["train_y"]), samples, rng)
    axes = tuple(range(arrays["train_x"].ndim - 1))
    if name == "tiny_mlp":  # all features as one channel: some pixels are always blank
        axes = (0, 1)
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"{name}{'-check' if check else ''}.npz"
    np.savez(
        path,
        **arrays,
        mean=np.atleast_1d(arrays["train_x"].mean(axes, np.float64)).astype(np.float32),
        std=np.atleast_1d(arrays["train_x"].std(axes, np.float64)).astype(np.float32),
        offsets=np.cumsum([0, *map(len, clients)]).astype(np.int32),
        order=np.concatenate(clients).astype(np.int32),
        meta=json.dumps(meta),
        **{f"w/{key}": leaf for key, leaf in first_weights(meta["model"], _shape(arrays)).items()},
    )
    return path


def _shape(arrays: dict[str, np.ndarray]) -> tuple[int, ...]:
    return arrays["train_x"].shape[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SETTINGS)}; all without any")
    parser.add_argument("--data", help="CIFAR-10 as npz: train_x, train_y, test_x, test_y")
    parser.add_argument("--samples", type=int, help="of each client at most, on images")
    parser.add_argument("--check", action="store_true", help="the check form alone")
    options = parser.parse_args()
    for name in options.names or SETTINGS:
        for check in (True,) if options.check else (True, False):
            print(write(name, check=check, data=options.data, samples=options.samples))


if __name__ == "__main__":
    main()
