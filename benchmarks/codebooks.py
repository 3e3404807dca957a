"""Codebooks of trained weights: error against the exact optimum, and time against the peers.

    python benchmarks/codebooks.py [--quick] [--repeats 10] [--peer-limit 10] [--exact-limit 60]

One table, and raw samples in benchmarks/results/. The peers are scikit-learn's KMeans with its
runs from 10 starts and from one, and kmeans1d, the exact algorithm in C++. They run once, in turns
with the others; those that would take longer than the limits, as estimated from n K, are skipped
and reported as skipped. Without the exact run the error is unknown too.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import recording

from fedcode_jax import codebook
from fedcode_jax.bench.timing import Timed, interleaved

CLIENTS = 100
# Seconds per value and center on one core, roughly: what decides whether a peer is run.
COST = {"scikit-learn 10 starts": 5e-7, "scikit-learn 1 start": 5e-8, "kmeans1d exact": 3e-7}


def error_of(values: np.ndarray, centers: np.ndarray) -> float:
    """The squared error in float64, each value going to its nearest center."""
    c = np.sort(np.asarray(centers, np.float64))
    v = values.astype(np.float64)
    return float(np.sum((v - c[np.searchsorted((c[1:] + c[:-1]) / 2, v)]) ** 2))


def peers_of(values: np.ndarray, K: int) -> dict[str, Callable[[], np.ndarray]]:
    """The peers, each a function that returns its centers."""
    import kmeans1d
    from sklearn.cluster import KMeans

    def scikit_learn(starts: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence: it has what the user gave it
            fitted = KMeans(K, n_init=starts, max_iter=300, random_state=0).fit(values[:, None])
        return fitted.cluster_centers_[:, 0]

    return {
        "scikit-learn 10 starts": lambda: scikit_learn(10),
        "scikit-learn 1 start": lambda: scikit_learn(1),
        "kmeans1d exact": lambda: np.asarray(
            kmeans1d.cluster(values.astype(np.float64), K).centroids
        ),
    }


def clients_of(values: np.ndarray, number: int) -> jax.Array:
    """Weights for as many clients: each its own, as after local training."""
    noise = jax.random.normal(jax.random.key(0), (number, values.size))
    return jnp.asarray(values) + 0.1 * np.std(values) * noise


def measure(values: np.ndarray, K: int, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one set of weights and one K."""
    # As many clients as lie in a few gigabytes.
    many = max(2, min(CLIENTS, 40_000_000 // values.size))
    clients = jax.block_until_ready(clients_of(values, many))
    one = jnp.asarray(values)
    fit = jax.jit(lambda x: codebook.fit(x, K))
    fits = jax.jit(jax.vmap(lambda x: codebook.fit(x, K)))
    copy = jax.jit(lambda x: x + 1)
    lowered = fit.lower(one)
    began = time.perf_counter()
    lowered.compile()
    compiling = time.perf_counter() - began
    seconds = interleaved(
        {
            "1 client": Timed(lambda: fit(one)),
            f"{many} clients": Timed(lambda: fits(clients)),
            "one pass over the weights": Timed(lambda: copy(one)),
        },
        options.repeats,
    )
    seconds[f"{many} clients"] = [s / many for s in seconds[f"{many} clients"]]
    errors = {"fedcode_jax": error_of(values, fit(one))}
    skipped = []
    for name, peer in peers_of(values, K).items():
        limit = options.exact_limit if name == "kmeans1d exact" else options.peer_limit
        if COST[name] * values.size * K > limit:
            skipped.append(name)
            continue
        began = time.perf_counter()
        centers = peer()
        seconds[name] = [time.perf_counter() - began]
        errors[name] = error_of(values, centers)
    best = errors.get("kmeans1d exact")
    ratios = {name: e / best for name, e in errors.items()} if best else {}
    return {
        "values": values.size,
        "num_clusters": K,
        "clients": many,
        "seconds_per_client": seconds,
        "compile_seconds": compiling,
        "squared_error": errors,
        "error_over_optimum": ratios,
        "skipped": skipped,
    }


def show(name: str, figures: dict[str, Any]) -> None:
    print(f"\n{name}, n = {figures['values']:,}, K = {figures['num_clusters']}")
    ratios = figures["error_over_optimum"]
    for row, samples in figures["seconds_per_client"].items():
        key = "fedcode_jax" if row.endswith(("client", "clients")) else row
        ratio = f"{ratios[key]:.5f}" if key in ratios else ""
        label = f"fedcode_jax, {row}" if key == "fedcode_jax" else row
        print(f"  {label:28s} {recording.describe(samples):44s} {ratio}")
    for row in figures["skipped"]:
        print(f"  {row:28s}    skipped")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run, nothing kept")
    parser.add_argument("--repeats", type=int, default=10, help="timed calls, in turns")
    parser.add_argument("--peer-limit", type=float, default=10, help="seconds for a peer")
    parser.add_argument("--exact-limit", type=float, default=60, help="seconds for kmeans1d")
    options = parser.parse_args()
    if options.quick:
        weights = np.random.default_rng(0).standard_t(5, 20_000).astype(np.float32)
        show("random numbers", measure(weights, 16, options))
        return
    import trained

    results = []
    print("per client, median and range; last, the squared error over the exact optimum")
    for network in trained.STEPS:
        made = trained.weights(network)
        for kind, what in (("all", "every variable"), ("kernels", "kernels alone")):
            for K in (16, 64, 256):
                figures = measure(made[kind], K, options)
                show(f"{network}, {what}", figures)
                results.append({"network": network, "weights": kind} | figures)
    result = {
        "what": "1-D k-means of trained weights; seconds per client, calls interleaved",
        "training": f"SGD steps of 32 digits: {trained.STEPS}",
        "results": results,
    }
    print(f"written to {recording.write(f'codebooks-{jax.default_backend()}', result)}")


if __name__ == "__main__":
    main()
