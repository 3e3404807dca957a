"""ResNet-20 on CIFAR-10 without any federation: ours against its PyTorch twin.

    python benchmarks/peers/centralised.py --data cifar10.npz [--epochs 6] [--samples N]
        [--out NAME]

One client with all images, trained as the simulator trains a client: SGD with momentum, weight
decay, crops and flips, the learning rate up over half an epoch and down along a cosine. The twin
starts from the same weights and is sent the very batches, augmented, in the same order. Each runs
on one core. Both are evaluated on all test images at the end; they should agree within a point,
which is what two runs of one program differ by.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import environments
import jax
import jax.numpy as jnp
import numpy as np
import optax
import ours_models
import tasks
from task import Task, load

from fedcode_jax.clients import ClientData, LocalTraining, batches, train
from fedcode_jax.data import crop_and_flip
from fedcode_jax.simulation import EvaluationData, evaluate

HERE = pathlib.Path(__file__).parent
BATCH, MOMENTUM, DECAY, PEAK = 128, 0.9, 5e-4, 0.1
KEY = 7
PROGRAMS = ("ours", "twin")


def learning_rate(samples: int, epochs: int) -> optax.Schedule:
    """Up over half an epoch, then down to nothing."""
    steps = -(-samples // BATCH)
    return optax.warmup_cosine_decay_schedule(0.0, PEAK, steps // 2, epochs * steps)


def ours(path: pathlib.Path, epochs: int) -> dict[str, Any]:
    """Accuracy and loss of the simulator's local training."""
    task = load(path)
    arrays = task.arrays
    own = np.arange(len(arrays["train_y"]))
    stored = (arrays[name] for name in ("train_x", "train_y", "mean", "std"))
    data = ClientData.from_arrays(*stored, (own,))
    schedule = learning_rate(len(own), epochs)
    training = LocalTraining(
        ours_models.model(task),
        optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(schedule, MOMENTUM)),
        epochs=epochs,
        batch_size=BATCH,
        augment=crop_and_flip,
    )
    began = time.perf_counter()
    weights, train_loss = jax.jit(
        lambda start, data: train(
            training, "map", start, data, jnp.int32(0), jax.random.key(KEY), max_size=len(own)
        )
    )(ours_models.variables(task), data)
    jax.block_until_ready(weights)
    seconds = time.perf_counter() - began
    test = EvaluationData.from_arrays(*(arrays[k] for k in ("test_x", "test_y", "mean", "std")))
    one = jax.tree.map(lambda leaf: leaf[None], weights)
    score = jax.jit(lambda w, test: evaluate(training.model, w, test))(one, test)
    return {
        "test_accuracy": float(score.accuracy),
        "test_loss": float(score.loss),
        "mean_train_loss": float(train_loss),
        "seconds": seconds,
    }


def batches_of(task: Task, epochs: int) -> Iterator[bytes]:
    """The batches that ``train`` draws, each with its learning rate, as the twin reads them."""
    x, y = task.arrays["train_x"], task.arrays["train_y"]
    total = len(y)
    key = jax.random.key(KEY)
    orders = np.asarray(batches.shuffles(jax.random.fold_in(key, 0), total, total, epochs))
    augment = jax.jit(
        lambda step, x: crop_and_flip(jax.random.fold_in(jax.random.fold_in(key, 1), step), x)
    )
    schedule = learning_rate(total, epochs)
    steps = -(-total // BATCH)
    for step in range(epochs * steps):
        first = step % steps * BATCH
        rows = orders[step // steps, first : first + BATCH]
        # Drawn for a whole batch, as the simulator does, and cut.
        padded = np.resize(rows, BATCH)
        images = np.asarray(augment(step, x[padded]))[: len(rows)]
        head = np.float32(schedule(step)).tobytes() + np.int32(len(rows)).tobytes()
        yield head + images.tobytes() + y[rows].astype(np.int32).tobytes()


def twin(path: pathlib.Path, epochs: int) -> dict[str, Any]:
    """What the PyTorch program reports, fed with the batches."""
    error = environments.make("torch")
    if error is not None:
        raise SystemExit(f"torch: no environment: {error}")
    python, script = str(environments.python_of("torch")), str(HERE / "centralised_torch.py")
    process = subprocess.Popen(
        [python, script, str(path), str(MOMENTUM), str(DECAY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    for batch in batches_of(load(path), epochs):
        process.stdin.write(batch)
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit("torch: failed; see above")
    return json.loads(output)


def on_one_core(place: int) -> None:
    """Leaves this process, and what it starts, one of the cores it has."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[place % len(cores)]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="CIFAR-10 as npz; without it images are random")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--samples", type=int, help="train on the first so many images only")
    parser.add_argument("--out", help="of the file of results; nothing is written without it")
    parser.add_argument("--worker", choices=PROGRAMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    path = tasks.CACHE / "centralised.npz"
    if options.worker:
        on_one_core(PROGRAMS.index(options.worker))
        run = {"ours": ours, "twin": twin}[options.worker]
        print(json.dumps(run(path, options.epochs)))
        return
    arrays = dict(np.load(tasks.write("cifar_resnet20", data=options.data)))
    for name in ("train_x", "train_y"):
        arrays[name] = arrays[name][: options.samples]
    np.savez(path, **arrays)
    worker = [sys.executable, __file__, "--epochs", str(options.epochs), "--worker"]
    started = {name: subprocess.Popen([*worker, name], stdout=subprocess.PIPE) for name in PROGRAMS}
    results = {name: process.communicate()[0] for name, process in started.items()}
    if any(process.returncode for process in started.values()):
        raise SystemExit("one of the two failed; see above")
    found = {name: json.loads(output.splitlines()[-1]) for name, output in results.items()}
    difference = found["ours"]["test_accuracy"] - found["twin"]["test_accuracy"]
    for name, run in found.items():
        print(
            f"{name:6s} accuracy {100 * run['test_accuracy']:.2f} %, loss {run['test_loss']:.4f},"
            f" while training {run['mean_train_loss']:.4f}; {run['seconds']:.0f} s"
        )
    print(f"difference {100 * difference:+.2f} points")
    if options.out:
        sys.path.append(str(HERE.parent))
        import recording

        result = {
            "what": "centralised ResNet-20, the same weights, batches and learning rates",
            "data": "CIFAR-10" if options.data else "random images of CIFAR-10's shape",
            "samples": len(arrays["train_y"]),
            "epochs": options.epochs,
            "difference": difference,
            **found,
        }
        print(f"written to {recording.write(f'centralised-{options.out}', result)}")


if __name__ == "__main__":
    main()
