"""The parts of ``accelerator.py`` that say whether a card computes what the CPU computes."""

import importlib.util
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import codebook, models
from fedcode_jax.config import ExperimentConfig, replace

HERE = pathlib.Path(__file__).resolve().parent
SUITE = ("tests/codebook", "tests/models", "tests/clients")
SMOKE_SUITE = ("tests/clients/test_losses.py",)
SMALL = {
    "data.name": "synthetic",
    "data.train_size": 100,
    "data.test_size": 50,
    "model.name": "mlp",
    "partition.num_clients": 4,
    "local.epochs": 1,
    "algorithm.name": "fedavg",
}
"""What a smoke run makes of an experiment: little to compile."""


class Size(NamedTuple):
    """How much a part is to do."""

    smoke: bool
    data: str | None
    seconds: float


class Found(NamedTuple):
    """One row of the table, and everything it follows from."""

    what: str
    figure: str
    data: dict[str, Any]


def points(fractions: list[float]) -> str:
    """Accuracies in percent: mean and standard deviation."""
    deviation = statistics.stdev(fractions) if len(fractions) > 1 else 0.0
    return f"{100 * statistics.mean(fractions):.1f} ± {100 * deviation:.1f} %"


def digits_config() -> ExperimentConfig:
    """The default experiment; on Gaussian classes of digits' shape without scikit-learn."""
    here = importlib.util.find_spec("sklearn") is not None
    return ExperimentConfig() if here else replace(ExperimentConfig(), {"data.name": "synthetic"})


def suite(size: Size) -> Iterator[Found]:
    """Fits and gradients held against the CPU of the same process, then the numeric tests."""
    yield fits_against_cpu(2000 if size.smoke else 271_098)
    yield gradients_against_cpu("cnn", (8, 8, 1))
    if not size.smoke:
        yield gradients_against_cpu("resnet20", (32, 32, 3))
    if importlib.util.find_spec("pytest") is None:
        yield Found("numeric tests", "skipped: pytest is not installed here", {})
        return
    tests = SMOKE_SUITE if size.smoke else SUITE
    command = [sys.executable, "-m", "pytest", *tests, "-q", "-m", "not slow", "--tb=line"]
    command += ["-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        cwd=HERE.parent,
        env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},  # this process has memory too
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    last = (done.stdout.strip().splitlines() or ["no message"])[-1].strip("= ")
    if not re.search(r"\d+ (passed|failed)", last):
        raise RuntimeError(f"pytest: {last}")
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    yield Found("numeric tests", last, {"tests": tests, "failures": failures})


def fits_against_cpu(n: int) -> Found:
    """The largest error of a fit on this device over that of the CPU's form on the CPU."""
    rng = np.random.default_rng(0)
    cases = {
        "normal": rng.normal(size=n),
        "heavy tails": rng.standard_t(3, n),
        "two scales": np.where(rng.random(n) < 0.5, 1e-3, 1.0) * rng.normal(size=n),
        "few values": rng.integers(0, 40, n),
    }
    cpu, ratios = jax.devices("cpu")[0], {}
    fit = jax.jit(lambda x: codebook.fit(x, 64))
    for name, values in cases.items():
        x = values.astype(np.float32)
        device, host = (error(x, fit(jax.device_put(x, d))) for d in (jax.devices()[0], cpu))
        # Few values are met exactly, up to rounding.
        floor = 1e-12 * float(np.sum(np.square(x, dtype=np.float64)))
        ratios[name] = (device + floor) / (host + floor)
    worst = max(ratios, key=ratios.__getitem__)
    figure = f"{ratios[worst]:.5f} ({worst}; {len(cases)} kinds of {n:,} values)"
    return Found("squared error of codebooks over the CPU's, the largest", figure, ratios)


def error(values: np.ndarray, centers: jax.Array) -> float:
    """The squared error in float64, each value going to its nearest center."""
    c, v = np.sort(np.asarray(centers, np.float64)), values.astype(np.float64)
    return float(np.sum((v - c[np.searchsorted((c[1:] + c[:-1]) / 2, v)]) ** 2))


def gradients_against_cpu(name: str, shape: tuple[int, ...]) -> Found:
    """How far the gradients of a model are from the CPU's, in both lowerings of convolutions."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, *shape)).astype(np.float32)
    apart = {}
    for lowering in ("native", "patches"):
        model = models.make(name, 10, lowering=lowering)
        cpu = jax.devices("cpu")[0]
        with jax.default_device(cpu):
            weights = models.init(model, jax.random.key(0), shape)
        params = weights.pop("params")

        def loss(params: Any, x: jax.Array, model=model, rest=weights) -> jax.Array:
            logits = model.apply({"params": params, **rest}, x, train=False)
            return -jnp.mean(jax.nn.log_softmax(logits)[:, 0])

        with jax.default_matmul_precision("float32"):
            gradient = jax.jit(jax.grad(loss))
            here, there = (
                np.concatenate(
                    [
                        np.ravel(leaf)
                        for leaf in jax.tree.leaves(
                            jax.device_get(gradient(*jax.device_put((params, x), device)))
                        )
                    ]
                )
                for device in (jax.devices()[0], cpu)
            )
        apart[lowering] = float(np.linalg.norm(here - there) / np.linalg.norm(there))
    figure = ", ".join(f"{lowering} {value:.1e}" for lowering, value in apart.items())
    return Found(f"gradients of {name}, distance from the CPU's over their length", figure, apart)


def digits(size: Size) -> Iterator[Found]:
    """FedCode on digits, here and on the CPU: the same accuracy, within what seeds do to it."""
    seeds, rounds = (2, 2) if size.smoke else (3, 60)
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]);"
        "import accelerator_checks as c; print(json.dumps(c.digits_runs(*map(int, sys.argv[2:]))))"
    )
    command = [sys.executable, "-c", code, str(HERE), str(seeds), str(rounds), str(int(size.smoke))]
    kinds = {"here": {}, "cpu": {"JAX_PLATFORMS": "cpu"}}
    started = {
        kind: subprocess.Popen(
            command, env={**os.environ, **more}, stdout=subprocess.PIPE, text=True
        )
        for kind, more in kinds.items()
    }  # both at once: nothing is timed
    outputs = {kind: process.communicate()[0] for kind, process in started.items()}
    if failed := [kind for kind, process in started.items() if process.returncode]:
        raise RuntimeError(f"the runs failed: {', '.join(failed)}")
    runs = {kind: json.loads(output.splitlines()[-1]) for kind, output in outputs.items()}
    for figure, name in (("period_accuracy", "last period"), ("final_accuracy", "last round")):
        here, cpu = ([run[figure] for run in runs[kind]] for kind in ("here", "cpu"))
        if None in here + cpu:  # fewer rounds than a period
            continue
        apart = statistics.mean(here) - statistics.mean(cpu)
        spread = max(max(one) - min(one) for one in (here, cpu))
        verdict = "within" if abs(apart) <= spread else "NOT WITHIN"
        yield Found(
            f"{'fedavg' if size.smoke else f'FedCode on {digits_config().data.name}'}, {name}",
            f"{points(here)}, on the CPU {points(cpu)}: {100 * apart:+.2f} points, {verdict} "
            f"the spread of {seeds} seeds ({100 * spread:.2f})",
            {"here": here, "cpu": cpu, "runs": runs},
        )


def digits_runs(seeds: int, rounds: int, smoke: int) -> list[dict[str, Any]]:
    """What one kind of machine makes of it: figures by seed."""
    from precision import runs_of

    changes: dict[str, Any] = {"rounds": rounds}
    if smoke:
        changes |= SMALL
    runs = runs_of(replace(digits_config(), changes), seeds)
    return [{key: value for key, value in run.items() if key != "weights"} for run in runs]
