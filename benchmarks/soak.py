"""A long run stays as it began: memory of host and device, and seconds a round, in windows.

    python benchmarks/soak.py [--rounds 2000] [--windows 20] [--write]

FedCode on the digits with a small MLP, 5 of 10 clients a round, a folder with checkpoints and an
evaluation every tenth round: all that a long run does. Of each window of rounds: the process's
resident memory and the bytes of all arrays on the devices at its end, and CPU seconds a round,
which do not suffer where other work has the cores. The first quarter of the windows is for
compiling and for memory to find its size; of the others it is asserted that

* arrays on the devices take the same bytes at the end of each;
* resident memory does not grow by more than 12 kB a round (the records of rounds, which a run
  keeps, and plots at its end, are about 4) and 16 MB, what the allocator may hold back;
* the median of the last quarter's CPU seconds is at most 1.25 times that of the second.

Exits with 1 if one of them does not hold. --write keeps the figures as
benchmarks/results/soak.json.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import jax
import recording

import fedcode_jax
from fedcode_jax.bench.machine import peak_resident_bytes
from fedcode_jax.config import ExperimentConfig, replace

EVERY = 10  # rounds between evaluations, at which it is looked
MOST_BYTES_A_ROUND, MOST_BYTES = 12_000, 16e6
SLOWER = 1.25
SETTINGS = {
    "model.name": "mlp",
    "model.hidden": (32,),
    "clients_per_round": 5,
    "local.epochs": 1,
    "eval_every": EVERY,
    "checkpoint_every": 100,
    "checkpoint_keep": 2,
}


def resident_bytes() -> int:
    """What the process holds at present; where the system does not say, the most so far."""
    path = pathlib.Path("/proc/self/statm")
    if path.exists():
        return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_resident_bytes() or 0


class Watcher:
    """An observer that looks at memory and time at the end of each window of rounds."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.windows: list[dict[str, Any]] = []
        self.began = time.process_time(), time.perf_counter()

    def started(self, info: dict[str, str], rounds: int) -> None:
        """See ``Observer``."""
        self.began = time.process_time(), time.perf_counter()

    def advanced(self, records: list[dict[str, Any]]) -> None:
        """See ``Observer``."""
        done = records[-1]["round"]
        if done % self.length:
            return
        now = time.process_time(), time.perf_counter()
        cpu, wall = (after - before for after, before in zip(now, self.began, strict=True))
        self.windows.append(
            {
                "round": done,
                "resident_bytes": resident_bytes(),
                "device_bytes": sum(array.nbytes for array in jax.live_arrays()),
                "cpu_seconds_a_round": cpu / self.length,
                "seconds_a_round": wall / self.length,
            }
        )
        self.began = now

    def finished(self, summary: dict[str, Any]) -> None:
        """See ``Observer``."""


def problems(windows: list[dict[str, Any]]) -> list[str]:
    """What of a run did not stay as it was, in a line each."""
    quarter = max(len(windows) // 4, 1)
    steady = windows[quarter:]
    found = []
    sizes = sorted({window["device_bytes"] for window in steady})
    if len(sizes) > 1:
        found.append(f"arrays on the devices took from {sizes[0]:,} to {sizes[-1]:,} bytes")
    first, last = steady[0], steady[-1]
    grown = last["resident_bytes"] - first["resident_bytes"]
    if grown > MOST_BYTES_A_ROUND * (last["round"] - first["round"]) + MOST_BYTES:
        found.append(f"resident memory grew by {grown / 1e6:.0f} MB")
    early, late = (
        statistics.median(window["cpu_seconds_a_round"] for window in part)
        for part in (windows[quarter : 2 * quarter], windows[-quarter:])
    )
    if late > SLOWER * early:
        found.append(f"a round took {1e3 * early:.1f} ms of the CPU, and {1e3 * late:.1f} at last")
    return found


def main() -> int:
    """Runs, tells the windows, and says whether all stayed as it was."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="keep the figures")
    options = parser.parse_args()
    if options.rounds % (options.windows * EVERY) or options.windows < 4:
        parser.error(f"--rounds must be a multiple of {EVERY} times --windows, which is 4 or more")
    watcher = Watcher(options.rounds // options.windows)
    with tempfile.TemporaryDirectory() as folder:
        changes = {**SETTINGS, "rounds": options.rounds, "out": f"{folder}/run"}
        result = fedcode_jax.run(replace(ExperimentConfig(), changes), observer=watcher)
    for window in watcher.windows:
        print(
            f"round {window['round']:6,}: {window['resident_bytes'] / 1e6:7.1f} MB resident, "
            f"{window['device_bytes'] / 1e6:7.3f} MB on devices, "
            f"{1e3 * window['cpu_seconds_a_round']:6.2f} ms of the CPU a round"
        )
    wrong = problems(watcher.windows)
    print("; ".join(wrong) if wrong else "all stayed as it was")
    if options.write:
        figures = {"accuracy": result.summary["final_accuracy"], "windows": watcher.windows}
        recording.write("soak", {"settings": SETTINGS, "problems": wrong, **figures})
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
