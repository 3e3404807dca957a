"""What faults cost: FedCode under dropouts, damage and NaN, and two rules under hostile clients.

    python benchmarks/faults.py [--seeds 2] [--rounds 60]

Every row is the default experiment (digits, 10 clients, the CNN of 6,090 weights) with something
that goes wrong, over the seeds, which change the initial weights, the partition, the batches and
whom faults strike. Below is how many points of accuracy the server's weights lose against the first
row of their kind, in the last round, as a mean over the seeds.

The claims that are checked: with 30 % of the clients away in a round, 5 % of the uploads damaged
and 5 % of them made of NaN, FedCode ends within 4 points of the clean run, and every upload that
was rejected is counted, as drawn anew here; and with 2 of 10 clients sending 100 times their model,
the coordinate-wise median does so too, which the mean does not.

Writes benchmarks/results/faults.json.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import numpy as np
from recording import write

from fedcode_jax import ExperimentConfig, randomness, sweep
from fedcode_jax.config import replace
from fedcode_jax.simulation.records import FAULTS

MOST_BELOW = 4.0
STRUCK = {"network.dropout": 0.3, "faults.corrupt": 0.05, "faults.not_finite": 0.05}
HOSTILE = {"faults.hostile": 0.2, "faults.scale": 100.0}
MEDIAN = {"algorithm.aggregation.name": "median"}
# A clean run has its uploads looked at as well, and so shares the program of the other.
CLEAN = {"faults.screen": True}
KINDS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "mean": ({}, {"clean": CLEAN, "away, damaged, NaN": STRUCK, "2 of 10 hostile": HOSTILE}),
    "median": (MEDIAN, {"clean": CLEAN, "2 of 10 hostile": HOSTILE}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    base = replace(ExperimentConfig(), {"rounds": options.rounds, "eval_every": options.rounds})
    rows = [
        row
        for name, (rule, worlds) in KINDS.items()
        for row in rows_of(name, replace(base, {**CLEAN, **rule}), worlds, options.seeds)
    ]
    found = claims(rows)
    path = write("faults", {"claims": found, "rows": rows})
    print(f"\nclaims: {found}\nwritten to {path.name}")


def claims(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """What is claimed of the rows, and whether it holds."""
    found = {(row["aggregation"], row["world"]): row for row in rows}
    below = {key: row["points_below_clean"] for key, row in found.items()}
    struck = found["mean", "away, damaged, NaN"]
    return {
        "within 4 points when struck": below["mean", "away, damaged, NaN"] <= MOST_BELOW,
        "every rejected upload is counted": all(run["counted_as_drawn"] for run in struck["runs"]),
        "the median within 4 points": below["median", "2 of 10 hostile"] <= MOST_BELOW,
        "the mean is not": not below["mean", "2 of 10 hostile"] <= MOST_BELOW,
    }


def rows_of(name: str, base: ExperimentConfig, worlds: dict[str, Any], seeds: int) -> list[dict]:
    """The rows of one rule of aggregation, of which all runs are one program."""
    points = [{**world, "seed": seed} for world in worlds.values() for seed in range(seeds)]
    began = time.perf_counter()
    swept = sweep(base, points)
    seconds = round(time.perf_counter() - began, 1)
    jax.clear_caches()
    runs = [figures(run, point, base) for run, point in zip(swept.runs, points, strict=True)]
    rows: list[dict[str, Any]] = []
    for number, (world, settings) in enumerate(worlds.items()):
        own = runs[number * seeds : (number + 1) * seeds]
        accuracy = statistics.mean(run["final_accuracy"] or 0.0 for run in own)
        clean = rows[0]["final_accuracy"] if rows else accuracy
        rows.append(
            {
                "aggregation": name,
                "world": world,
                "settings": settings,
                "final_accuracy": accuracy,
                "points_below_clean": 100 * (clean - accuracy),
                "seconds_of_all_worlds": seconds,
                "runs": own,
            }
        )
        print(f"{name}, {world}: {100 * accuracy:.1f} %", flush=True)
    return rows


def figures(run: Any, point: dict[str, Any], base: ExperimentConfig) -> dict[str, Any]:
    """What a run comes to, and whether its rejected uploads are those that were drawn."""
    config = replace(base, point)
    totals = {name: sum(record[name] for record in run.records) for name in FAULTS}
    drawn = [_drawn(config, number) for number in range(1, len(run.records) + 1)]
    counted = [(r["rejected_corrupt"], r["rejected_not_finite"]) for r in run.records]
    return {
        "seed": config.seed,
        "status": run.summary["status"],
        "final_accuracy": run.summary["final_accuracy"],
        "arrived_uploads": run.summary["arrived_uploads"],
        "faults": totals,
        "counted_as_drawn": counted == drawn,
    }


@randomness.standardised
def _drawn(config: ExperimentConfig, number: int) -> tuple[int, int]:
    """Uploads of a round that are damaged, and made of NaN, where all clients have one to send."""
    clients = np.arange(config.partition.num_clients)

    def uniform(purpose: int, inner: Any) -> np.ndarray:
        key = randomness.key(np.uint32(config.seed))
        key = jax.random.fold_in(jax.random.fold_in(key, purpose), number)
        return np.array([inner(jax.random.fold_in(key, client)) for client in clients])

    away = uniform(3, lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (2,)))[:, 0]
    luck = uniform(4, lambda k: jax.random.uniform(k, (4,)))
    there = away >= np.float32(config.network.dropout)
    bad = luck[:, 3] < np.float32(config.faults.not_finite)
    corrupt = luck[:, 2] < np.float32(config.faults.corrupt)
    return int((there & ~bad & corrupt).sum()), int((there & bad).sum())


if __name__ == "__main__":
    main()
