"""Machines that are not here: steps that follow each other, kernels and memory, as compiled."""

from typing import Any

from tables_text import Raw, paragraphs, table

COLUMNS = (("gpu", "cnn"), ("gpu", "resnet20"), ("tpu", "cnn"), ("tpu", "resnet20"))
MODELS = {"cnn": "CNN", "resnet20": "ResNet-20"}
TARGETS = {
    "cnn, H100": "cnn {} h100",
    "resnet20, H100": "resnet20 {} h100",
    "mobilenet_v2, H100": "mobilenet_v2 {} h100",
    "cnn, v5e": "cnn {} v5e",
    "resnet20, v5e, `JAX_OPTIMIZATION_LEVEL=O1`": "resnet20 {} v5e O1",
    "resnet20, v5e, O1, `model.remat true`": "resnet20-remat {} v5e O1",
    "mobilenet_v2, v5e, O1": "mobilenet_v2 {} v5e O1",
}
STEP, ROUND = "a local step", "a round"


def layouts_table(raw: Raw) -> str:
    """Steps that follow each other in a round of ragged clients, beside the fewest."""
    found = {
        (row["alpha"], row["cohort"], row["target"], row["model"]): row
        for row in raw("layouts")["table"]
    }
    rows = []
    for alpha, cohort in dict.fromkeys(key[:2] for key in found):
        own = [found[alpha, cohort, *column] for column in COLUMNS]
        cells = [f"{row['steps']} of {row['fewest']}" for row in own]
        wasteless = f"{own[0]['steps_by_waste']}"
        rows.append([f"Dirichlet {alpha}, {cohort} of 100", *cells, wasteless])
    names = [f"{target.upper()}, {MODELS[model]}" for target, model in COLUMNS]
    most = max(row["largest_ratio"] for row in found.values())
    last = paragraphs(
        f"No single cohort took more than {most:.2f} times the fewest (`python "
        "benchmarks/layouts.py`, [raw figures](../../benchmarks/results/layouts.json))."
    )
    return f"{table(['', *names, 'little padding (CPU)'], rows)}\n\n{last}"


def _memory(*counts: int) -> str:
    unit, divisor = ("GB", 1e9) if max(counts) >= 1e9 else ("MB", 1e6)
    return f"{' / '.join(f'{count / divisor:.3g}' for count in counts)} {unit}"


def targets_table(raw: Raw) -> str:
    """Kernels of a step and memory of a round."""
    every, rows = raw("targets"), []
    for name, key in TARGETS.items():
        own: list[dict[str, Any]] = [
            every[each]
            for algorithm in ("fedavg", "fedcode")
            if (each := key.format(algorithm)) in every
        ]
        needed = _memory(*(one["room"]["needed_bytes"] for one in own))
        model, _, rest = name.partition(",")
        alone = " (FedAvg)" if len(own) == 1 else ""
        kernels = own[0]["parts"][STEP]["kernels"]
        rows.append([f"`{model}`,{rest}", f"{kernels}", needed + alone])
    h100 = [
        every[f"resnet20 {name} h100"]["parts"][ROUND]["compile_seconds"]
        for name in ("fedavg", "fedcode")
    ]
    plain, remat = (every[f"{name} fedavg v5e O1"] for name in ("resnet20", "resnet20-remat"))
    step = [one["parts"][STEP]["memory_bytes"]["total"] for one in (remat, plain)]
    last = paragraphs(
        f"For an H100 a round of `resnet20` compiles in {h100[0]:.0f} s (FedCode: {h100[1]:.0f} s, "
        "two fits of codebooks more) on two cores. With `model.remat true` the ten clients' step "
        f"of `resnet20` takes {step[0] / 1e9:.2f} GB of a v5e in place of {step[1] / 1e9:.2f}, "
        f"with {remat['parts'][STEP]['kernels']} kernels in place of "
        f"{plain['parts'][STEP]['kernels']}. For a TPU float32 products take six passes in "
        "bfloat16 each, and compiling grows with them: `execution.precision tf32` or `bfloat16` "
        "shortens it, and so does JAX's own `JAX_OPTIMIZATION_LEVEL=O1`, with which a local step "
        f"of `resnet20` took {plain['parts'][STEP]['compile_seconds']:.0f} s in float32, a whole "
        f"round {plain['parts'][ROUND]['compile_seconds'] / 60:.0f} minutes beside other work. "
        "What such a program loses in speed is not known here."
    )
    head = ["", "kernels of a step", "memory of a round, FedAvg / FedCode"]
    return f"{table(head, rows)}\n\n{last}"


BLOCKS = {"layouts-table": layouts_table, "targets-table": targets_table}
