"""What machines that are not here would take: models and algorithms, compiled for a GPU and a TPU.

    python benchmarks/targets.py [--models cnn resnet20 resnet20-remat mobilenet_v2]
        [--algorithms fedavg fedcode] [--targets h100 v5e] [--level O1] [--again]

Each row is ``fedcode bench --target`` in a process of its own, and written to
benchmarks/results/targets.json as soon as it is there; rows that the file has are passed over, but
with ``--again``. ``cnn`` is the default experiment, on digits; the others have 10 clients of 500
images of 32 x 32 x 3, and ``-remat`` makes the values inside blocks again for gradients. K = 64,
batches of 32. ``--level`` is JAX's own of how much its compiler does; its rows have it in their
names. Needs fedcode_jax[gpu] and [tpu], and neither machine.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results" / "targets.json"
COMMAND = "import sys; from fedcode_jax import cli; sys.exit(cli.main())"
IMAGES = [
    *("--data.name", "synthetic", "--data.shape", "32", "32", "3", "--data.num-classes", "10"),
    *("--data.train-size", "5000", "--data.test-size", "1000"),
]
MODELS: dict[str, list[str]] = {
    "cnn": [],
    "resnet20": [*IMAGES, "--model.name", "resnet20"],
    "resnet20-remat": [*IMAGES, "--model.name", "resnet20", "--model.remat", "true"],
    "mobilenet_v2": [*IMAGES, "--model.name", "mobilenet_v2"],
}
ALGORITHMS = ("fedavg", "fedcode")
TARGETS = ("h100", "v5e")


def row(model: str, algorithm: str, target: str, level: str | None) -> dict[str, Any]:
    """One experiment for one machine; the table is printed."""
    environment = {} if level is None else {"JAX_OPTIMIZATION_LEVEL": level}
    options = ["--target", target, "--algorithm.name", algorithm, *MODELS[model]]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "row.json"
        arguments = ["bench", *options, "--json", str(file)]
        subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments], check=True, env=os.environ | environment
        )
        found = json.loads(file.read_text())
    settings = [f"{name}={value}" for name, value in environment.items()]
    found["command"] = " ".join([*settings, "fedcode", "bench", *options])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--level", choices=("O0", "O1", "O2", "O3"), help="JAX's, for these rows")
    parser.add_argument("--again", action="store_true", help="also rows that are there")
    asked = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for model in asked.models:
        for algorithm in asked.algorithms:
            for target in asked.targets:
                name = " ".join(filter(None, (model, algorithm, target, asked.level)))
                if name in rows and not asked.again:
                    continue
                rows[name] = row(model, algorithm, target, asked.level)
                RESULTS.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
                print(f"written to {RESULTS}: {name}", flush=True)


if __name__ == "__main__":
    main()
