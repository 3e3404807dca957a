"""FedCode beside FedAvg and the controls, over seeds, IID and Dirichlet: the README's table.

    python benchmarks/controls.py [--seeds 5] [--rounds 60]

Every row is the default experiment (digits, 10 clients, the CNN of 6,090 weights) with another
algorithm, or with codes coded given what both sides hold. Each row is compiled once for a partition
law; seeds change the initial weights, the partition and the batches. Writes every run's figures to
benchmarks/results/controls.json.
"""

import argparse
import dataclasses
import statistics

import jax
from recording import write

from fedcode_jax import experiment
from fedcode_jax.config import ExperimentConfig, replace, to_dict
from fedcode_jax.simulation import simulate

ALGORITHMS = ("fedavg", "fedcode", "skip", "weight_clustering", "fedavg_every", "local_only")
CONDITIONAL = ("fedcode", "skip", "weight_clustering")
VARIANTS = {name: {"algorithm.name": name} for name in ALGORITHMS} | {
    f"{name}, conditional": {"algorithm.name": name, "algorithm.coding": "conditional"}
    for name in CONDITIONAL
}
PARTITIONS = {
    "IID": {"partition.name": "iid"},
    "Dirichlet 0.3": {"partition.name": "dirichlet", "partition.alpha": 0.3},
}
FIGURES = (
    "final_accuracy",
    "period_accuracy",
    "final_deployed_accuracy",
    "period_deployed_accuracy",
    "total_uplink_bytes",
    "total_downlink_bytes",
    "reduction_vs_fedavg",
    "reduction_formula",
)


def runs_of(config: ExperimentConfig, seeds: int) -> list[dict]:
    """The summaries of one setting over seeds, with one compilation."""
    built = [experiment.build(replace(config, {"seed": seed})) for seed in range(seeds)]
    # One static size for all partitions, so that one program serves all seeds.
    max_size = max(one.program.max_size for one in built)
    first = dataclasses.replace(built[0].program, max_size=max_size)
    summaries = []
    for one in built:
        own = one.program
        shared = first.with_inputs(data=own.data, test=own.test, settings=own.settings)
        outcome = simulate(shared, shared.start(one.weights), rounds=config.rounds)
        summaries.append(experiment.summary_of(one, outcome))
    return summaries


def spread(summaries: list[dict], figure: str, scale: float = 100) -> str:
    values = [scale * summary[figure] for summary in summaries]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def paired(runs: list[dict], algorithm: str = "fedcode", other: str = "skip") -> dict:
    """Differences of the two, seed by seed, in points, for each split and kind of accuracy."""
    found: dict[str, dict] = {}
    for run in (run for run in runs if run["algorithm"] == algorithm):
        (match,) = (
            each
            for each in runs
            if (each["algorithm"], each["partition"], each["seed"])
            == (other, run["partition"], run["seed"])
        )
        figures = found.setdefault(run["partition"], {})
        for figure in FIGURES[:4]:
            points = round(100 * (run[figure] - match[figure]), 2)
            figures.setdefault(figure, []).append(points)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    base = replace(ExperimentConfig(), {"rounds": options.rounds})
    rows, lines = [], []
    for partition, law in PARTITIONS.items():
        for algorithm, changes in VARIANTS.items():
            config = replace(base, {**law, **changes})
            summaries = runs_of(config, options.seeds)
            jax.clear_caches()
            for seed, summary in enumerate(summaries):
                figures = {figure: summary[figure] for figure in FIGURES}
                rows.append(
                    {"partition": partition, "algorithm": algorithm, "seed": seed, **figures}
                )
            reduction = statistics.mean(s["reduction_vs_fedavg"] for s in summaries)
            lines.append(
                f"| {partition} | `{algorithm}` | {spread(summaries, 'final_accuracy')} "
                f"| {spread(summaries, 'period_accuracy')} "
                f"| {spread(summaries, 'period_deployed_accuracy')} | {reduction:.1f}x |"
            )
            print(lines[-1], flush=True)
    result = {
        "what": "accuracy (fraction) and bytes of every run; mean and standard deviation below",
        "config": to_dict(base),
        "runs": rows,
        "table": lines,
        "fedcode_minus_skip": paired(rows),
    }
    print("fedcode - skip, points, by seed:", result["fedcode_minus_skip"])
    print(f"written to {write('controls', result)}")


if __name__ == "__main__":
    main()
