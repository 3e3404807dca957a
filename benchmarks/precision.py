"""What the precision of local training does to accuracy: float32, tf32 and bfloat16.

    python benchmarks/precision.py [--seeds 3] [--rounds 20] [--data cifar10.npz]

FedAvg and FedCode on handwritten digits, the default experiment otherwise, but shorter. Seeds
change initial weights, partition and batches; all precisions have the same. With --data also a run
of the CNN on 5,000 training and 1,000 test images of that file, half as many rounds of one local
epoch. On CPU tf32 is float32: whether the results are equal to the last bit is found out and
written down. Speed is not the point here, since many CPUs have no bfloat16 of their own. Writes
benchmarks/results/precision-cpu.json.
"""

import argparse
import dataclasses
import pathlib
import statistics
import tempfile
from typing import Any

import jax
import numpy as np
from recording import write

from fedcode_jax import experiment
from fedcode_jax.clients.plan import PRECISIONS
from fedcode_jax.config import ExperimentConfig, replace, to_dict
from fedcode_jax.simulation import simulate

ALGORITHMS = ("fedavg", "fedcode")
FIGURES = (
    "final_accuracy",
    "period_accuracy",
    "final_deployed_accuracy",
    "period_deployed_accuracy",
)


def runs_of(config: ExperimentConfig, seeds: int) -> list[dict[str, Any]]:
    """Figures and final weights of one setting over seeds, with one compilation."""
    built = [experiment.build(replace(config, {"seed": seed})) for seed in range(seeds)]
    max_size = max(one.program.max_size for one in built)
    first = dataclasses.replace(built[0].program, max_size=max_size)
    runs = []
    for seed, one in enumerate(built):
        own = one.program
        shared = first.with_inputs(data=own.data, test=own.test, settings=own.settings)
        outcome = simulate(shared, shared.start(one.weights), rounds=config.rounds)
        summary = experiment.summary_of(one, outcome)
        weights = [np.asarray(leaf) for leaf in jax.tree.leaves(outcome.state.server)]
        runs.append(
            {
                "seed": seed,
                "status": outcome.status,
                **{figure: summary[figure] for figure in FIGURES},
                "accuracy_by_round": [record["test_accuracy"] for record in outcome.records],
                "weights": weights,
            }
        )
    jax.clear_caches()
    return runs


def spread(runs: list[dict], figure: str) -> str:
    """Mean and standard deviation in per cent."""
    values = [100 * run[figure] for run in runs]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


def against(runs: list[dict], others: list[dict]) -> dict[str, Any]:
    """How the runs differ from others of the same seeds: weights, and accuracy in points."""
    pairs = list(zip(runs, others, strict=True))
    same = all(
        np.array_equal(a, b)
        for run, other in pairs
        for a, b in zip(run["weights"], other["weights"], strict=True)
    )
    points = {
        figure: [round(100 * (run[figure] - other[figure]), 2) for run, other in pairs]
        for figure in FIGURES
    }
    return {"weights_equal_bit_by_bit": same, "points_by_seed": points}


def subset(path: str, folder: str, train: int = 5000, test: int = 1000) -> str:
    """The first samples of a data set as a file of their own."""
    with np.load(path) as whole:
        parts = {
            f"{part}_{kind}": whole[f"{part}_{kind}"][:size]
            for part, size in (("train", train), ("test", test))
            for kind in "xy"
        }
    file = pathlib.Path(folder) / f"{pathlib.Path(path).stem}-{train}.npz"
    np.savez(file, **parts)
    return str(file)


def measured(tasks: dict[str, tuple[ExperimentConfig, int]]) -> tuple[list, list, dict]:
    """Runs every task with both algorithms under all precisions: runs, table, comparisons."""
    rows: list[dict] = []
    lines = [
        "| task | algorithm | precision | final | mean of last period | the same, as deployed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    comparisons: dict[str, dict] = {}
    print(*lines, sep="\n")
    for task, (config, seeds) in tasks.items():
        for algorithm in ALGORITHMS:
            reference: list[dict] = []
            for precision in PRECISIONS:
                changes = {"algorithm.name": algorithm, "execution.precision": precision}
                runs = runs_of(replace(config, changes), seeds)
                if precision == "float32":
                    reference = runs
                else:
                    found = comparisons.setdefault(f"{task}, {algorithm}", {})
                    found[precision] = against(runs, reference)
                setting = {"task": task, "algorithm": algorithm, "precision": precision}
                for run in runs:
                    rows.append({**setting, **{k: v for k, v in run.items() if k != "weights"}})
                figures = [
                    spread(runs, figure)
                    for figure in ("final_accuracy", "period_accuracy", "period_deployed_accuracy")
                ]
                lines.append(f"| {task} | `{algorithm}` | {precision} | {' | '.join(figures)} |")
                print(lines[-1], flush=True)
    return rows, lines, comparisons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--data", help="npz of images; adds a short run of the CNN on a part of it")
    options = parser.parse_args()
    base = replace(ExperimentConfig(), {"rounds": options.rounds})
    # A part of the data is a file for as long as it is used; its path is not worth keeping.
    with tempfile.TemporaryDirectory() as folder:
        tasks = {"digits, cnn": (base, options.seeds)}
        if options.data:
            changes = {
                "data.name": "npz",
                "data.path": (subset(options.data, folder),),
                "rounds": max(1, options.rounds // 2),
                "local.epochs": 1,
                "model.name": "cnn",
            }
            name = f"{pathlib.Path(options.data).stem}, first 5,000, cnn"
            tasks[name] = (replace(base, changes), options.seeds)
        rows, lines, comparisons = measured(tasks)

    same = {name: found["tf32"]["weights_equal_bit_by_bit"] for name, found in comparisons.items()}
    if jax.default_backend() == "cpu":
        note = (
            "On CPU tf32 is float32: final weights are equal bit by bit in all runs."
            if all(same.values())
            else f"On CPU tf32 should be float32, but final weights are not all equal: {same}"
        )
        note += " Seconds are not given: a CPU has no tf32, and many have no bfloat16."
    else:
        note = f"Final weights of tf32 equal to those of float32, bit by bit: {same}"
    print(note)
    configs = {
        task: to_dict(replace(config, {"data.path": None})) for task, (config, _) in tasks.items()
    }
    result = {
        "what": "accuracy (fraction) of every run, by precision of local training",
        "note": note,
        "configs": configs,
        "runs": rows,
        "table": lines,
        "against_float32": comparisons,
    }
    print(f"written to {write(f'precision-{jax.default_backend()}', result)}")


if __name__ == "__main__":
    main()
