"""The parts of ``accelerator.py``, and those of them that set a card against something else.

A part yields what it finds, one figure after another; a later one of the same name replaces the
earlier, so that a part that is cut off has told what it knew. ``accelerator_checks.py`` has those
parts that say whether the figures are right, ``accelerator_runs.py`` those that run experiments.
"""

import dataclasses
import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import accelerator_checks as checks
import accelerator_runs as runs
import jax
import numpy as np
from accelerator_checks import HERE, Found, Size, digits_config
from accelerator_runs import milliseconds, on_images

from fedcode_jax import codebook, experiment
from fedcode_jax.bench.timing import Timed, interleaved
from fedcode_jax.config import replace

VALUES, CLUSTERS, CLIENTS = 271_098, 64, 10  # a client's weights: ResNet-20's kernels


def plans(size: Size) -> Iterator[Found]:
    """Which plan is the fastest, and whether the rules choose it."""
    few = {"local.epochs": 1, "algorithm.name": "fedavg"}
    many = {"partition.num_clients": 1000, "clients_per_round": 50, "local.batch_size": 10}
    cases = {
        "digits, cnn": digits_config() if not size.smoke else on_images(size, few),
        "50 clients of 50 images, cnn_pfl": on_images(
            size, {**few, **many, "model.name": "cnn_pfl"}
        ),
        "10 clients of 5,000 images, resnet20": on_images(
            size, {**few, "model.name": "resnet20", "local.batch_size": 128}
        ),
    }
    for name, config in list(cases.items())[: 1 if size.smoke else None]:
        ruled = experiment.build(config).program.plan
        probed = experiment.build(replace(config, {"execution.plan": "probe"})).program.plan
        same = all(
            getattr(ruled, field) == getattr(probed, field)
            for field in ("client_axis", "chunk", "conv")
        )
        yield Found(
            f"plan of {name}",
            f"{'as ruled' if same else f'ruled: {ruled.client_axis} {ruled.chunk} {ruled.conv}'}; "
            f"{probed.client_axis} {probed.chunk} {probed.conv}, {probed.reason}",
            {"ruled": dataclasses.asdict(ruled), "probed": dataclasses.asdict(probed)},
        )
        jax.clear_caches()


def codebooks(size: Size) -> Iterator[Found]:
    """Codebooks of ten clients against one pass over the same memory, and against the optimum."""
    import codebooks as peers

    n = 2000 if size.smoke else VALUES
    values = np.random.default_rng(0).standard_t(5, n).astype(np.float32)
    clients = jax.block_until_ready(peers.clients_of(values, CLIENTS))
    fits = jax.jit(jax.vmap(lambda x: codebook.fit(x, CLUSTERS)))
    copy = jax.jit(lambda x: x + 1)
    began = time.perf_counter()
    fits.lower(clients).compile()
    compiling = time.perf_counter() - began
    seconds = interleaved(
        {"fits": Timed(lambda: fits(clients)), "pass": Timed(lambda: copy(clients))},
        2 if size.smoke else 20,
    )
    ratio = statistics.median(seconds["fits"]) / statistics.median(seconds["pass"])
    what = f"codebooks of {CLIENTS} x {n:,} values, K = {CLUSTERS}"
    yield Found(
        what,
        f"{milliseconds(seconds['fits'])}; one pass over them {milliseconds(seconds['pass'])}: "
        f"{ratio:,.0f} passes; {compiling:.1f} s compiling",
        {"seconds": seconds, "passes": ratio, "compile_seconds": compiling},
    )
    first = np.asarray(clients[0])
    errors = {"form of this machine": peers.error_of(first, fits(clients)[0])}
    exact = importlib.util.find_spec("kmeans1d") is not None
    for target in ("gpu",) if size.smoke and exact else ("gpu", "cpu"):
        centers = jax.jit(lambda x, target=target: codebook.fit(x, CLUSTERS, target=target))(first)
        errors[f"{target} form"] = peers.error_of(first, centers)
    best = "optimum"
    if exact:
        import kmeans1d

        centers = kmeans1d.cluster(first.astype(np.float64), CLUSTERS).centroids
        errors[best] = peers.error_of(first, np.asarray(centers))
    else:
        best = "cpu form"
    ratios = {name: error / errors[best] for name, error in errors.items()}
    figure = ", ".join(f"{name} {ratio:.5f}" for name, ratio in ratios.items() if name != best)
    yield Found(f"squared error of a codebook over the {best}'s", figure, {"errors": errors})


def task_of(name: str, size: Size) -> dict[str, pathlib.Path]:
    """Both forms of a peers' task, in a smoke run the check form; by a process on the CPU."""
    command = [sys.executable, str(HERE / "peers" / "tasks.py"), name]
    command += ["--check"] * size.smoke + ["--data", size.data] * bool(size.data)
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}
    )
    if done.returncode:
        raise RuntimeError(f"tasks.py {name}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return dict(zip(("check", "timed"), map(pathlib.Path, done.stdout.split()), strict=False))


def against_torch(task: str, ours: tuple[int, ...], torch: int, size: Size) -> Iterator[Found]:
    """Rounds of a task, and the same by the PyTorch loop on the same card.

    Args:
      task: a key of the peers' tasks.
      ours: rounds of each of our processes, one after another.
      torch: rounds of the PyTorch loop, which is slower.
      size: of it all.
    """
    sys.path.append(str(HERE / "peers"))
    import processes

    files, began = task_of(task, size), time.monotonic()
    loop = processes.Peer("torch_loop.py", None)
    has_torch = importlib.util.find_spec("torch") is not None

    def run(peer: Any, form: str, rounds: int) -> dict[str, Any]:
        limit = max(1.0, size.seconds - (time.monotonic() - began))
        check = form == "check"
        many = hasattr(os, "sched_getaffinity") and not check
        threads = len(os.sched_getaffinity(0)) if many else 1
        return processes.run(
            peer, files[form], rounds=rounds, threads=threads, limit=limit, check=check
        )

    def timed(peer: Any, name: str, rounds: int) -> Iterator[Found]:
        result = run(peer, "timed", rounds)
        seconds = result["round_seconds"]
        said = milliseconds(seconds) if len(seconds) > 1 else f"{1e3 * seconds[0]:,.2f} ms"
        more = f"; loss {result['test_loss']:.4f}, accuracy {100 * result['test_accuracy']:.1f} %"
        on = f" on {result['device']}" if "device" in result else ""
        yield Found(f"{task}: a round, {name}, of {rounds:,}", f"{said}{on}{more}", result)

    own = run("ours", "check", 2)
    yield Found(f"{task}: loss in the check, ours", f"{own['test_loss']:.6f}", own)
    if has_torch:
        twin = run(loop, "check", 2)
        apart = abs(twin["test_loss"] / own["test_loss"] - 1)
        verdict = "equal to 1e-3" if apart <= 1e-3 else "NOT EQUAL to 1e-3"
        figure = f"{twin['test_loss']:.6f} on {twin['device']}, {verdict}"
        yield Found(f"{task}: loss in the check, PyTorch loop", figure, twin)
    else:
        yield Found(f"{task}: PyTorch loop", "skipped: torch is not installed here", {})
    if size.smoke:
        return
    yield from timed("ours", "ours", ours[0])
    if has_torch:
        yield from timed(loop, "PyTorch loop", torch)
    for rounds in ours[1:]:
        yield from timed("ours", "ours", rounds)


PARTS: dict[str, Callable[[Size], Iterator[Found]]] = {
    "suite": checks.suite,
    "digits": checks.digits,
    "plans": plans,
    "codebooks": codebooks,
    "pfl": lambda size: against_torch("cifar_cnn", (150, 1500), 20, size),
    "resnet20": lambda size: against_torch(
        "tiny_mlp" if size.smoke else "cifar_resnet20", (3,), 3, size
    ),
    "default": runs.default,
    "sweep": runs.sweep,
    "precision": runs.precision,
    "memory": runs.memory,
}
"""The parts, by name."""
