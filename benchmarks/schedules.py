"""Schedules at equal measured bytes: periodic, paired, often first, rare first, adaptive, skip.

    python benchmarks/schedules.py digits [--seeds N] [--out FOLDER]
    python benchmarks/schedules.py cifar10 --data cifar10.npz [--seeds N] [--out FOLDER]

Every rule is run with several of its settings, so that each spends several amounts of bytes; its
accuracy at an amount is interpolated between the two settings that spend less and more, in the
logarithm of bytes, seed by seed. Both periods are equal, codes are of fixed width, the start is 2
rounds. Accuracy is of the deployed model, mean over the last 20 rounds, since a schedule with a
period of 20 is as good as its mean over it. `step_size` needs a learning rate that falls, and is
compared with `periodic` under the same (cosine).

Digits: the default experiment with the MLP, 80 rounds, IID and Dirichlet 0.3. CIFAR-10: 5,000 real
training images, 10 clients, Dirichlet 0.5, the MLP, 40 rounds of one epoch, and fewer settings.
An interrupted run goes on where it was, if --out is given.
"""

import argparse
import math
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
from images import first_images
from recording import write

from fedcode_jax import ExperimentConfig, sweep
from fedcode_jax.config import replace

PACED = ("algorithm.name", "schedule.name", "schedule.server_period", "schedule.client_period")
WINDOW = 20
COMPARED = (
    ("fedcode late", "fedcode warmup"),
    ("fedcode late", "fedcode paired"),
    ("fedcode warmup", "fedcode paired"),
    ("fedcode budget", "fedcode paired"),
    ("fedcode drift, codebook", "fedcode paired"),
    ("fedcode drift, sketch", "fedcode paired"),
    ("fedcode step_size, cosine", "fedcode paired, cosine"),
    ("skip late", "skip warmup"),
    ("skip warmup", "skip paired"),
    ("skip paired", "fedcode paired"),
)


def digits() -> dict[str, dict[str, Any]]:
    base = {"rounds": 80, "model.name": "mlp"}
    return {
        "digits, IID": base,
        "digits, Dirichlet 0.3": {**base, "partition.name": "dirichlet", "partition.alpha": 0.3},
    }


def cifar10(path: pathlib.Path, folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    subset = first_images(path, folder / "cifar10-5000.npz", train=5000, test=2000)
    settings = {
        "rounds": 40,
        "eval_every": 2,
        "data.name": "npz",
        "data.path": [str(subset)],
        "model.name": "mlp",
        "partition.name": "dirichlet",
        "partition.alpha": 0.5,
        "local.epochs": 1,
        "local.batch_size": 32,
    }
    return {"CIFAR-10, Dirichlet 0.5": settings}


def rules(extra_mb: float, quiet_mb: float, few: bool) -> dict[str, tuple[dict, list[dict]]]:
    """By name: what its settings share, and the settings, from few bytes to many."""
    periods = [20, 10, 5, 3] if few else [40, 20, 10, 5, 3, 2]
    longest = [20, 8, 5, 3] if few else [40, 20, 12, 8, 5, 3]

    def paced(name: str, values: list[int]) -> list[dict]:
        return [
            {"schedule.name": name, "schedule.server_period": p, "schedule.client_period": p}
            for p in values
        ]

    budgets = [quiet_mb + extra_mb * count for count in ((3, 12) if few else (3, 6, 12, 24))]
    found: dict[str, tuple[dict, list[dict]]] = {}
    for algorithm in ("fedcode", "skip"):
        shared = {"algorithm.name": algorithm}
        found[f"{algorithm} periodic"] = shared, paced("periodic", periods)
        found[f"{algorithm} paired"] = shared, paced("paired", periods)
        found[f"{algorithm} warmup"] = shared, paced("warmup", longest)
        found[f"{algorithm} late"] = shared, paced("late", longest)
    for measure, thresholds in (
        ("codebook", (0.15, 0.08, 0.05, 0.03, 0.015)),
        ("sketch", (0.6, 0.3, 0.15, 0.07, 0.03)),
    ):
        if few:
            thresholds = thresholds[1:-1]
        found[f"fedcode drift, {measure}"] = (
            {"algorithm.name": "fedcode"},
            [
                {
                    "schedule.name": "drift",
                    "schedule.measure": measure,
                    "schedule.threshold": value,
                }
                for value in thresholds
            ],
        )
    found["fedcode budget"] = (
        {"algorithm.name": "fedcode"},
        [{"schedule.name": "budget", "schedule.budget_mb": mb} for mb in budgets],
    )
    if few:
        return found
    decayed = {"algorithm.name": "fedcode", "local.decay": "cosine"}
    found["fedcode periodic, cosine"] = decayed, paced("periodic", periods)
    found["fedcode paired, cosine"] = decayed, paced("paired", periods)
    found["fedcode step_size, cosine"] = (
        decayed,
        [
            {"schedule.name": "step_size", "schedule.alpha": alpha, **paced("", [2])[0]}
            | {"schedule.name": "step_size"}
            for alpha in (4e-3, 2.5e-3, 1.6e-3, 1e-3)
        ],
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=("digits", "cifar10"))
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        tasks = digits() if options.task == "digits" else cifar10(options.data, folder)
        result = {
            name: compare(name, settings, options.seeds, folder, options.task == "cifar10")
            for name, settings in tasks.items()
        }
    write(f"schedules-{options.task}-{jax.default_backend()}", {"tasks": result})


def compare(
    name: str, settings: dict[str, Any], seeds: int, folder: pathlib.Path, few: bool
) -> dict:
    base = replace(ExperimentConfig(), settings)
    slug = name.lower().replace(",", "").replace(" ", "-").replace(".", "")

    def points(shared: dict, rows: list[dict], label: str) -> list[list[tuple[float, float]]]:
        names = tuple(rows[0])
        axes = {names: [tuple(row[n] for n in names) for row in rows], "seed": list(range(seeds))}
        out = folder / f"{slug}-{label.replace(' ', '-').replace(',', '')}"
        runs = sweep(replace(base, shared), axes, out=str(out)).runs
        return [[_point(runs[i * seeds + seed]) for i in range(len(rows))] for seed in range(seeds)]

    # What a calibration and a run without any cost, for the budgets.
    once = points({"algorithm.name": "fedcode"}, _ends(base.rounds), "ends")[0]
    quiet, each = once[0][0] / 1e6, (once[1][0] - once[0][0]) / 1e6
    found = {}
    for label, (shared, rows) in rules(each, quiet, few).items():
        found[label] = points(shared, rows, label)
        mean = np.mean(found[label], axis=0)
        print(
            f"{name}: {label}: " + ", ".join(f"{b / 1e6:.2f} MB {100 * a:.1f} %" for b, a in mean)
        )
    levels = [1e6 * (quiet + each * count) for count in (3, 6, 12)]
    reference = found["fedcode periodic"]
    table = {label: _at_levels(curves, levels, reference) for label, curves in found.items()}
    print(f"\n{name}: accuracy (%) at MB: " + "  ".join(f"{b / 1e6:12.2f}" for b in levels))
    for label, cells in table.items():
        print(f"{label:28}" + "  ".join(_cell(cell) for cell in cells))
    pairs = {
        f"{a} over {b}": _at_levels(found[a], levels, found[b])
        for a, b in COMPARED
        if a in found and b in found
    }
    print(f"\n{name}: differences in points")
    for label, cells in pairs.items():
        print(f"{label:50}" + "  ".join(_apart(cell) for cell in cells))
    return {
        "settings": settings,
        "levels_bytes": levels,
        "points_bytes_accuracy_by_seed": found,
        "at_levels": table,
        "pairs_at_levels": pairs,
    }


def _ends(rounds: int) -> list[dict]:
    """No calibration after the start, and one more."""
    return [
        {"schedule.name": "periodic", "schedule.server_period": p, "schedule.client_period": p}
        for p in (rounds + 1, rounds)
    ]


def _point(run: Any) -> tuple[float, float]:
    """Bytes, and accuracy over the last rounds."""
    if run.summary["status"] != "completed":
        raise SystemExit(f"{run.point}: {run.summary['status']} {run.summary.get('error', '')}")
    values = [record["deployed_accuracy"] for record in run.records[-WINDOW:]]
    return float(run.records[-1]["cumulative_bytes"]), float(
        np.mean([value for value in values if value is not None])
    )


def _at_levels(
    curves: list[list[tuple[float, float]]],
    levels: list[float],
    reference: list[list[tuple[float, float]]],
) -> list[dict[str, float] | None]:
    """Accuracy at each amount of bytes, and its difference from the reference, over the seeds."""
    cells: list[dict[str, float] | None] = []
    for level in levels:
        own = [_interpolated(curve, level) for curve in curves]
        theirs = [_interpolated(curve, level) for curve in reference]
        if any(value is None for value in own):
            cells.append(None)
            continue
        apart = [a - b for a, b in zip(own, theirs, strict=True) if b is not None]  # type: ignore[operator]
        n = len(apart)
        cells.append(
            {
                "accuracy": float(np.mean(own)),  # type: ignore[arg-type]
                "standard_error": float(np.std(own, ddof=1) / math.sqrt(len(own))),  # type: ignore[arg-type]
                "over_reference": float(np.mean(apart)) if n else math.nan,
                "over_reference_standard_error": float(np.std(apart, ddof=1) / math.sqrt(n))
                if n > 1
                else math.nan,
            }
        )
    return cells


def _interpolated(curve: list[tuple[float, float]], level: float) -> float | None:
    """Accuracy at an amount of bytes; None outside of what was run."""
    points = sorted(curve)
    amounts = np.log([b for b, _ in points])
    if not amounts[0] <= math.log(level) <= amounts[-1]:
        return None
    return float(np.interp(math.log(level), amounts, [a for _, a in points]))


def _cell(cell: dict[str, float] | None) -> str:
    return f"{'-':>24}" if cell is None else f"{100 * cell['accuracy']:8.2f} ({_apart(cell)})"


def _apart(cell: dict[str, float] | None) -> str:
    if cell is None:
        return "-"
    error = cell["over_reference_standard_error"]
    return f"{100 * cell['over_reference']:+.2f} ± {100 * error:.2f}"


if __name__ == "__main__":
    main()
