"""FedCode's codebook and mapping for one client and round: ours against the authors' way.

    python benchmarks/peers/clustering.py [--clusters 64] [--values N] [--repeats 3] [--out NAME]

On the weights of a trained ResNet-20 (benchmarks/trained.py). ``codebook`` is fitting K centers
and the code of every weight; ``mapping`` is snapping a stored model to a codebook that arrives.
Both ways must map alike; ours must have no larger squared error. Times are of one client.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
from typing import Any

import environments
import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import codebook
from fedcode_jax.bench.timing import Timed, interleaved

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent))
import recording  # noqa: E402
import trained  # noqa: E402


def ours(values: np.ndarray, received: np.ndarray, K: int, repeats: int) -> dict[str, Any]:
    """Seconds and errors of fedcode_jax, after compiling."""
    x, centers = jnp.asarray(values), jnp.asarray(received)

    @jax.jit
    def fit(x):
        fitted = codebook.fit(x, K)
        return fitted, codebook.encode(fitted, x)

    snap = jax.jit(codebook.snap)
    seconds = interleaved(
        {"codebook": Timed(lambda: fit(x)), "mapping": Timed(lambda: snap(centers, x))}, repeats
    )
    exact = values.astype(np.float64)
    decoded = np.asarray(codebook.decode(*fit(x)), np.float64)
    mapped = np.asarray(snap(centers, x), np.float64)
    return {
        "peer": "ours",
        "seconds": seconds,
        "squared_error": float(np.sum((decoded - exact) ** 2)),
        "mapped_error": float(np.sum((mapped - exact) ** 2)),
    }


def authors(part: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the other program reported, run in the environment of its own."""
    error = environments.make("authors")
    if error is not None:
        return {"peer": "authors", "error": f"no environment: {error}"}
    command = [str(environments.python_of("authors")), str(HERE / "authors_clustering.py")]
    command += [str(part), "--clusters", str(options.clusters)]
    command += ["--threads", str(os.cpu_count()), "--repeats", str(options.peer_repeats)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"peer": "authors", "error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=64)
    parser.add_argument("--values", type=int, help="only as many of the weights")
    parser.add_argument("--repeats", type=int, default=10, help="of ours")
    parser.add_argument("--peer-repeats", type=int, default=1, help="of the authors' way")
    parser.add_argument("--out", help="of the file of results; nothing is written without it")
    options = parser.parse_args()
    values = trained.weights("resnet20")["all"][: options.values].astype(np.float32)
    # A codebook of other weights arrives: of the same network with noise on it.
    noise = np.random.default_rng(0).normal(0, 0.1 * values.std(), values.size)
    received = np.asarray(codebook.fit(jnp.asarray(values + noise), options.clusters))
    part = HERE / ".cache" / "clustering.npz"
    part.parent.mkdir(exist_ok=True)
    np.savez(part, values=values, received=received)
    results = [ours(values, received, options.clusters, options.repeats), authors(part, options)]
    own, other = results
    if "error" not in other:
        if abs(own["mapped_error"] / other["mapped_error"] - 1) > 1e-4:
            other["error"] = "maps weights to other centers"
        own["over_their_squared_error"] = own["squared_error"] / other["squared_error"]
    show(values.size, options.clusters, results)
    if options.out:
        result = {
            "command": shlex.join(["python", "benchmarks/peers/clustering.py", *sys.argv[1:]]),
            "what": "seconds of one client's codebook and mapping",
            "values": values.size,
            "num_clusters": options.clusters,
            "results": results,
        }
        print(f"written to {recording.write(f'peers-{options.out}', result)}")


def show(size: int, K: int, results: list[dict[str, Any]]) -> None:
    """One Markdown row a part; an error of the authors' way in its place."""
    own, other = results
    print(f"n = {size:,}, K = {K}; ms per client and round\n")
    print("| part | ours | authors | ratio |\n| --- | --- | --- | --- |")
    if "error" in other:
        print(f"| | | {other['error']} | |")
        return
    rows = {name: (own["seconds"][name], other["seconds"][name]) for name in own["seconds"]}
    medians = {name: [1e3 * statistics.median(s) for s in pair] for name, pair in rows.items()}
    medians["both"] = [sum(pair) for pair in zip(*medians.values(), strict=True)]
    for name, (mine, theirs) in medians.items():
        print(f"| {name} | {mine:,.2f} | {theirs:,.1f} | {theirs / mine:,.0f} |")
    print(f"\nsquared error, ours over theirs: {own['over_their_squared_error']:.5f}")


if __name__ == "__main__":
    main()
