"""FedCode's clustering the way its authors did it, from a description of it; in its environment.

    python benchmarks/peers/authors_clustering.py PART.npz --clusters K --threads T

scikit-learn's KMeans with ten starts on all weights of a client gives codebook and codes; a stored
model is mapped to a received codebook by a Python loop with a binary search for each weight.
PART.npz holds ``values`` and ``received``, an ascending codebook. The last line is JSON.
"""

import argparse
import bisect
import importlib.metadata
import json
import os
import time

import numpy as np


def snap(centers: list[float], values: np.ndarray) -> np.ndarray:
    """The nearest center of each value, found one value at a time."""
    nearest = np.empty_like(values)
    for i, value in enumerate(values.tolist()):
        above = bisect.bisect_left(centers, value)
        if above == 0:
            nearest[i] = centers[0]
        elif above == len(centers):
            nearest[i] = centers[-1]
        else:
            low, high = centers[above - 1], centers[above]
            nearest[i] = high if high - value < value - low else low
    return nearest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part")
    parser.add_argument("--clusters", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from sklearn.cluster import KMeans

    with np.load(options.part) as part:
        values, received = part["values"], part["received"].tolist()
    seconds: dict[str, list[float]] = {"codebook": [], "mapping": []}
    for repeat in range(options.repeats):
        began = time.perf_counter()
        fitted = KMeans(options.clusters, n_init=10, random_state=repeat).fit(values[:, None])
        seconds["codebook"].append(time.perf_counter() - began)
        began = time.perf_counter()
        mapped = snap(received, values)
        seconds["mapping"].append(time.perf_counter() - began)
    names = ("numpy", "scikit-learn")
    result = {
        "peer": "authors",
        "versions": {name: importlib.metadata.version(name) for name in names},
        "threads": options.threads,
        "seconds": seconds,
        "squared_error": float(fitted.inertia_),
        "mapped_error": float(np.sum((mapped.astype(np.float64) - values) ** 2)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
