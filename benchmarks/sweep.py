"""A sweep against the same experiments run one after another.

    python benchmarks/sweep.py [--model NAME] [--rounds N] [--schedules N] [--seeds N]

Both in this process, by the command's own functions: ``fedcode run`` for each experiment, with a
folder of its own, and ``fedcode sweep`` over all of them. The single runs are cut into two halves,
before and after the sweep, so that a machine that slows down is fair to both. Then every record of
every experiment is compared: with runs on one device, to which a sweep must be equal, and with the
timed runs, whose clients are shared by all devices, which is equal up to the order of sums.
"""

import argparse
import contextlib
import io
import json
import pathlib
import tempfile
import time

import jax
from recording import write

from fedcode_jax.cli import main as fedcode

SCHEDULES = ["2:5:2", "2:1:1", "2:5:5", "2:10:5", "2:10:10", "2:20:10", "2:20:20", "6:20:20"]
AXIS = "schedule.start,schedule.server_period,schedule.client_period"
COMPARED = ("train_loss", "test_accuracy", "deployed_accuracy", "uplink_bytes", "simulated_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--schedules", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    schedules, seeds = SCHEDULES[: options.schedules], range(options.seeds)
    shared = ["--model.name", options.model, "--rounds", str(options.rounds), "--quiet"]
    with tempfile.TemporaryDirectory() as parent:
        folder = pathlib.Path(parent)
        points = [(schedule, seed) for schedule in schedules for seed in seeds]
        # Compiled programs are on disk after this, for both.
        _run(shared, points[0], folder / "warm-up")
        _sweep(shared, schedules[:1], [0, 1], folder / "warm-up-sweep")
        singles, half = [], len(points) // 2
        singles += [_run(shared, point, folder / f"{i}") for i, point in enumerate(points[:half])]
        together = _sweep(shared, schedules, seeds, folder / "sweep")
        singles += [
            _run(shared, point, folder / f"{half + i}") for i, point in enumerate(points[half:])
        ]
        alone = [*shared, "--execution.devices", "1"]
        sample = range(0, len(points), max(1, len(points) // 4))
        for i in sample:
            _run(alone, points[i], folder / f"alone-{i}")
        numbers = range(len(points))
        result = {
            "experiments": len(points),
            "rounds": options.rounds,
            "model": options.model,
            "seconds_one_after_another": sum(singles),
            "seconds_of_each": singles,
            "seconds_of_the_sweep": together,
            "times_faster": sum(singles) / together,
            "largest_difference_from_one_device": _difference(folder, sample, "alone-"),
            "mean_final_accuracy_difference": _mean_difference(folder, numbers),
            "first_round_difference": _difference(folder, numbers, "", rounds=1),
        }
    print(json.dumps({k: v for k, v in result.items() if k != "seconds_of_each"}, indent=1))
    write(f"sweep-{options.model}-{jax.default_backend()}", result)


def _run(shared: list[str], point: tuple[str, int], out: pathlib.Path) -> float:
    schedule, seed = point
    names = ("start", "server-period", "client-period")
    chosen = [
        word
        for name, value in zip(names, schedule.split(":"), strict=True)
        for word in (f"--schedule.{name}", value)
    ]
    return _timed("run", *shared, *chosen, "--seed", str(seed), "--out", str(out))


def _sweep(shared: list[str], schedules: list[str], seeds: list[int], out: pathlib.Path) -> float:
    axes = [
        "--axis",
        f"{AXIS}={','.join(schedules)}",
        "--axis",
        f"seed={','.join(map(str, seeds))}",
    ]
    return _timed("sweep", *shared, *axes, "--out", str(out))


def _timed(*arguments: str) -> float:
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code = fedcode(list(arguments))
    if code:
        raise SystemExit(f"fedcode {' '.join(arguments)} ended with {code}")
    return time.perf_counter() - began


def _records(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _difference(
    folder: pathlib.Path, numbers: range, prefix: str, rounds: int | None = None
) -> dict[str, float]:
    found = dict.fromkeys(COMPARED, 0.0)
    for i in numbers:
        one = _records(folder / f"{prefix}{i}")[:rounds]
        other = _records(folder / "sweep" / "runs" / f"{i:04d}")[:rounds]
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            for name in COMPARED:
                found[name] = max(found[name], abs(a[name] - b[name]))
    return found


def _mean_difference(folder: pathlib.Path, numbers: range) -> float:
    """Of final accuracies, sweep less single, mean over all experiments."""
    pairs = [
        (
            _records(folder / "sweep" / "runs" / f"{i:04d}")[-1]["test_accuracy"],
            _records(folder / f"{i}")[-1]["test_accuracy"],
        )
        for i in numbers
    ]
    return sum(a - b for a, b in pairs) / len(pairs)


if __name__ == "__main__":
    main()
