"""What machines that are not here would take: models and algorithms, compiled for a GPU and a TPU.

    python benchmarks/targets.py [--models cnn resnet20 mobilenet_v2] [--algorithms fedavg fedcode]
        [--targets h100 v5e] [--again]

Each row is ``fedcode bench --target`` in a process of its own, and written to
benchmarks/results/targets.json as soon as it is there; rows that the file has are passed over, but
with ``--again``. ``cnn`` is the default experiment, on digits; the others have 10 clients of 500
images of 32 x 32 x 3. K = 64, batches of 32. Needs fedcode_jax[gpu] and [tpu], and neither machine.
"""

import argparse
import json
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
MODELS = ("cnn", "resnet20", "mobilenet_v2")
ALGORITHMS = ("fedavg", "fedcode")
TARGETS = ("h100", "v5e")


def row(model: str, algorithm: str, target: str) -> dict[str, Any]:
    """One experiment for one machine; the table is printed."""
    options = ["--target", target, "--model.name", model, "--algorithm.name", algorithm]
    options += [] if model == "cnn" else IMAGES
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "row.json"
        arguments = ["bench", *options, "--json", str(file)]
        subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True)
        found = json.loads(file.read_text())
    found["command"] = " ".join(["fedcode", "bench", *options])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--again", action="store_true", help="also rows that are there")
    asked = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for model in asked.models:
        for algorithm in asked.algorithms:
            for target in asked.targets:
                name = f"{model} {algorithm} {target}"
                if name in rows and not asked.again:
                    continue
                rows[name] = row(model, algorithm, target)
                RESULTS.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
                print(f"written to {RESULTS}: {name}", flush=True)


if __name__ == "__main__":
    main()
