"""A client's step of local training against a plain PyTorch loop's, and against another revision's.

    python benchmarks/client_steps.py [--models mobilenet_v2 ...] [--batch 32] [--steps 3]
        [--turns 15] [--against REVISION] [--torch PYTHON] [--note ...] [--out cpu]

All programs are processes on one and the same core. They are ready before the first turn, and in
a turn each trains for ``--steps`` steps while the others wait. PyTorch runs with its images as NCHW
and as channels-last; the faster counts. ``ratio`` is the median over the turns of our time over
the other's of the same turn, in seconds of the processor, which other work on the machine delays
less than those of the clock. Writes benchmarks/results/client-steps-NAME.json if given ``--out``.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import recording

ROOT = pathlib.Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
BATCH = {"cnn_pfl": 10, "resnet20": 32, "mobilenet_v2": 32, "yamnet": 32}
"""Models, with the batch of their tasks."""


class Program:
    """A process that trains when told to."""

    def __init__(self, command: list[str], package: pathlib.Path, core: int) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(package),
            "OMP_NUM_THREADS": "1",
            "JAX_PLATFORMS": "cpu",
        }
        os.sched_setaffinity(0, {core})  # which it inherits
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tempfile.gettempdir(),
        )
        self.parameters = self._line()["parameters"]

    def train(self, steps: int) -> dict[str, float]:
        """Seconds of one of so many steps, of the clock and of the processor."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"it ended: {self.process.args}")
        return json.loads(line)

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def revision(name: str | None) -> Iterator[pathlib.Path | None]:
    """A folder with the package as it was then."""
    if name is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", name, "fedcode_jax"],
            check=True,
            capture_output=True,
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield pathlib.Path(folder)


def commands(model: str, batch: int, options: argparse.Namespace) -> dict[str, list[str]]:
    """The programs of a model; both of ours are the same but for where the package lies."""
    ours = [sys.executable, str(PEERS / "steps_ours.py"), model, str(batch)]
    torch = [options.torch, str(PEERS / "steps_torch.py"), model, str(batch)]
    return {
        "ours": ours,
        **({"before": ours} if options.against else {}),
        "torch NCHW": [*torch, "contiguous"],
        "torch channels-last": [*torch, "channels_last"],
    }


def measure(
    model: str, then: pathlib.Path | None, core: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Raw seconds of every program, and ratios."""
    batch = options.batch or BATCH[model]
    programs: dict[str, Program] = {}
    try:
        for name, command in commands(model, batch, options).items():
            package = then if name == "before" and then is not None else ROOT
            programs[name] = Program(command, package, core)
        parameters = {program.parameters for program in programs.values()}
        if len(parameters) > 1:
            raise SystemExit(f"{model}: not one model: {parameters} parameters")
        turns = [
            {name: program.train(options.steps) for name, program in programs.items()}
            for _ in range(options.turns)
        ]
    finally:
        for program in programs.values():
            program.end()
    seconds = {
        kind: {name: [turn[name][kind] for turn in turns] for name in programs}
        for kind in ("cpu", "wall")
    }
    medians = {name: statistics.median(s) for name, s in seconds["cpu"].items()}
    theirs = min(("torch NCHW", "torch channels-last"), key=medians.__getitem__)
    ratios = {
        other: statistics.median(
            a / b for a, b in zip(seconds["cpu"]["ours"], seconds["cpu"][other], strict=True)
        )
        for other in ([theirs, "before"] if options.against else [theirs])
    }
    return {"model": model, "batch": batch, "ratio": ratios, "seconds": seconds}


def show(figures: dict[str, Any]) -> None:
    cpu = figures["seconds"]["cpu"]
    times = ", ".join(
        f"{name} {1e3 * statistics.median(s):.1f} (least {1e3 * min(s):.1f})"
        for name, s in cpu.items()
    )
    ratios = ", ".join(f"{ratio:.2f} of {name}" for name, ratio in figures["ratio"].items())
    print(f"{figures['model']}, batch {figures['batch']}: {ratios}\n  ms: {times}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--models", nargs="+", default=list(BATCH), choices=list(BATCH))
    add("--batch", type=int, help="of all models; without it, of their tasks")
    add("--steps", type=int, default=3, help="of a program in a turn")
    add("--turns", type=int, default=15)
    add("--against", help="a revision of the package to time as well")
    add("--torch", default=sys.executable, help="the Python that has PyTorch")
    add("--note", default="", help="about the machine, to be kept with the figures")
    add("--out", help="of the file of results; nothing is written without it")
    options = parser.parse_args()
    core = max(os.sched_getaffinity(0))
    results = []
    with revision(options.against) as then:
        for model in options.models:
            results.append(measure(model, then, core, options))
            show(results[-1])
    if options.out:
        result = {
            "what": "seconds of a client's step, processes in turns on one core",
            "note": options.note,
            "load_at_the_end": os.getloadavg()[0],
            "results": results,
        }
        print(f"written to {recording.write(f'client-steps-{options.out}', result)}")


if __name__ == "__main__":
    main()
