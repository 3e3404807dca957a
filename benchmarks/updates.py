"""Compressed updates, one way and both, beside FedAvg and FedCode, over seeds, IID and Dirichlet.

    python benchmarks/updates.py [--seeds 5] [--rounds 60] [--model cnn]

Every row is the default experiment (digits, 10 clients, the CNN of 6,090 weights) with another
algorithm: FedAvg; FedAvg whose changes are compressed (codebooks of few centers, or the largest 5 %
of the values; what is left out of an upload is kept and added to the next one); FedCode, and the
control `skip`. A row is one sweep over the seeds, which change the initial weights, the partition
and the batches. Accuracy is of the server's weights and of the deployed model, in the last round
and as a mean over the last ten. Bytes are measured, of the whole run and all clients, the first
broadcast of the weights as floats included. Differences to FedAvg are taken seed by seed.

The claim that is checked, on IID: with 3 centers both ways accuracy, as a mean over the last ten
rounds and all seeds, is at most 0.3 points below FedAvg's, at 17 times fewer bytes or better.

Writes benchmarks/results/updates-digits-BACKEND.json after every row.
"""

import argparse
import collections
import math
import statistics
import time
from typing import Any

import jax
from controls import PARTITIONS
from recording import write

from fedcode_jax import ExperimentConfig, sweep
from fedcode_jax.config import replace, to_dict
from fedcode_jax.experiment import SweepRun

WINDOW = 10
ACCURACIES = (
    "final_accuracy",
    "last_ten_accuracy",
    "final_deployed_accuracy",
    "last_ten_deployed_accuracy",
)
TWO_WAY = "3 centers, both ways"
MOST_BELOW, LEAST_REDUCTION = 0.3, 17.0


def changes(ways: tuple[str, ...] = ("up", "down"), **settings: Any) -> dict[str, Any]:
    """FedAvg whose changes are compressed in some directions, all by the same settings."""
    compressors = {
        f"algorithm.{way}.{name}": value for way in ways for name, value in settings.items()
    }
    return {"algorithm.name": "fedavg", **compressors}


VARIANTS: dict[str, dict[str, Any]] = {
    "fedavg": {"algorithm.name": "fedavg"},
    TWO_WAY: changes(name="codebook", num_clusters=3),
    "2 centers, both ways": changes(name="codebook", num_clusters=2),
    "4 centers, priced, both ways": changes(name="codebook", num_clusters=4, rate_weight=0.05),
    "3 centers, up alone": changes(("up",), name="codebook", num_clusters=3),
    "largest 5 %, both ways": changes(name="topk", fraction=0.05),
    "fedcode": {"algorithm.name": "fedcode"},
    "fedcode, conditional": {"algorithm.name": "fedcode", "algorithm.coding": "conditional"},
    "skip, conditional": {"algorithm.name": "skip", "algorithm.coding": "conditional"},
}
HEAD = (
    "| split | algorithm | mean of last 10 rounds | less FedAvg | the same, as deployed "
    "| less FedAvg | MB up | MB down | reduction |\n" + "| --- " * 9 + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--model", default="cnn")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: must be at least 2, for a standard error")
    base = replace(ExperimentConfig(), {"rounds": options.rounds, "model.name": options.model})
    rows: list[dict[str, Any]] = []
    print(HEAD, flush=True)
    for partition, law in PARTITIONS.items():
        reference: list[dict[str, Any]] = []
        for algorithm, settings in VARIANTS.items():
            began = time.perf_counter()
            config = replace(base, {**law, **settings})
            swept = sweep(config, {"seed": list(range(options.seeds))})
            jax.clear_caches()
            runs = [figures(run) for run in swept.runs]
            reference = reference or runs
            rows.append(
                {
                    "partition": partition,
                    "algorithm": algorithm,
                    "settings": {**law, **settings},
                    "seconds": round(time.perf_counter() - began, 1),
                    "runs": runs,
                    "points_less_fedavg": differences(runs, reference),
                }
            )
            print(line(rows[-1]), flush=True)
            path = keep(base, rows)
    print(f"\nclaim: {claim(rows)}\nwritten to {path.name}")


def figures(run: SweepRun) -> dict[str, Any]:
    """What a run comes to; its status alone, and the error, where it did not complete."""
    summary, records = run.summary, run.records
    if summary["status"] != "completed":
        return {**run.point, "status": summary["status"], "error": summary.get("error")}
    last = records[-WINDOW:]
    return {
        **run.point,
        "status": "completed",
        "final_accuracy": summary["final_accuracy"],
        "last_ten_accuracy": statistics.mean(record["test_accuracy"] for record in last),
        "final_deployed_accuracy": summary["final_deployed_accuracy"],
        "last_ten_deployed_accuracy": statistics.mean(r["deployed_accuracy"] for r in last),
        "total_uplink_bytes": summary["total_uplink_bytes"],
        "total_downlink_bytes": summary["total_downlink_bytes"],
        "reduction_vs_fedavg": summary["reduction_vs_fedavg"],
    }


def differences(runs: list[dict], reference: list[dict]) -> dict[str, dict[str, Any]] | None:
    """By kind of accuracy, in points: seed by seed, their mean and its standard error."""
    if not complete(runs) or not complete(reference):
        return None
    found = {}
    for name in ACCURACIES:
        points = [100 * (a[name] - b[name]) for a, b in zip(runs, reference, strict=True)]
        found[name] = {
            "by_seed": [round(value, 3) for value in points],
            "mean": statistics.mean(points),
            "standard_error": statistics.stdev(points) / math.sqrt(len(points))
            if len(points) > 1
            else None,
        }
    return found


def complete(runs: list[dict]) -> bool:
    return all(run["status"] == "completed" for run in runs)


def mean(runs: list[dict], name: str) -> float:
    return statistics.mean(run[name] for run in runs)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    apart = None if row["algorithm"] == "fedavg" else row["points_less_fedavg"]
    cells = [row["partition"], f"`{row['algorithm']}`", *figure_cells(row["runs"], apart)]
    return "".join(f"| {cell} " for cell in cells) + "|"


def figure_cells(runs: list[dict], apart: dict[str, dict[str, Any]] | None) -> list[str]:
    """The seven cells of a row that are figures; of the reference ``apart`` is None."""
    if not complete(runs):
        states = collections.Counter(run["status"] for run in runs)
        return [", ".join(f"{count} {state}" for state, count in states.items()), *[""] * 6]
    cells = []
    for name in ("last_ten_accuracy", "last_ten_deployed_accuracy"):
        cells.append(spread([run[name] for run in runs]))
        if apart is None:
            cells.append("")
            continue
        error = apart[name]["standard_error"]
        cells.append(f"{apart[name]['mean']:+.2f}" + ("" if error is None else f" ± {error:.2f}"))
    for name in ("total_uplink_bytes", "total_downlink_bytes"):
        cells.append(f"{mean(runs, name) / 1e6:.2f}")
    return [*cells, f"{mean(runs, 'reduction_vs_fedavg'):.1f}x"]


def spread(values: list[float]) -> str:
    """Mean of fractions, in percent, and the standard deviation where there are several."""
    percent = [100 * value for value in values]
    deviation = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.mean(percent):.1f}{deviation}"


def claim(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What two-way changes of 3 centers come to on IID, and whether that is what is claimed."""
    for row in rows:
        if (row["partition"], row["algorithm"]) == ("IID", TWO_WAY) and row["points_less_fedavg"]:
            apart = {
                name: row["points_less_fedavg"][name]["mean"]
                for name in ("last_ten_accuracy", "last_ten_deployed_accuracy")
            }
            reduction = mean(row["runs"], "reduction_vs_fedavg")
            holds = min(apart.values()) >= -MOST_BELOW and reduction >= LEAST_REDUCTION
            return {"points_less_fedavg": apart, "reduction_vs_fedavg": reduction, "holds": holds}
    return None


def keep(base: ExperimentConfig, rows: list[dict[str, Any]]) -> Any:
    """Writes what there is so far."""
    result = {
        "what": "accuracy (fraction) and bytes of each run, of all clients and rounds; differences "
        "in points; the table has means over seeds ± standard deviation, for differences ± "
        "standard error, and megabytes of 1,000,000 bytes",
        "config": to_dict(base),
        "claim": claim(rows),
        "table": [*HEAD.split("\n"), *map(line, rows)],
        "rows": rows,
    }
    return write(f"updates-digits-{jax.default_backend()}", result)


if __name__ == "__main__":
    main()
