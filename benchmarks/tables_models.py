"""Models, sizes and precisions, and README's sentence on speed: what their raw files hold."""

import statistics
from typing import Any

from tables_codes import optimum_excess
from tables_speed import round_ratio
from tables_text import Raw, paragraphs

NAMES = {"fedavg": "FedAvg", "fedcode": "FedCode"}


def subset_found(raw: Raw) -> str:
    """ResNet-20 on a part of CIFAR-10."""
    runs = raw("resnet20-cifar10-subset")["runs"]

    def course(name: str) -> str:
        records = runs[name]["records"]
        first, last = (100 * records[i]["test_accuracy"] for i in (0, -1))
        return (
            f"from {first:.1f} to {last:.1f} % with {'FedAvg' if name == 'fedavg' else 'FedCode'}"
        )

    fewer = runs["fedcode"]["summary"]["reduction_vs_fedavg"]
    return paragraphs(
        "ResNet-20 on 10,000 real CIFAR-10 images, 10 clients, five rounds of one epoch, goes "
        f"{course('fedavg')} and {course('fedcode')} at {fewer:.1f} times fewer bytes: too short "
        "to compare the two, enough to see both learn. The commands and every round are in "
        "[raw figures](results/resnet20-cifar10-subset.json)."
    )


def centralised_found(raw: Raw) -> str:
    """Training without federation, beside a PyTorch twin."""
    found = raw("centralised-cifar10-cpu")
    ours, twin = (100 * found[who]["test_accuracy"] for who in ("ours", "twin"))
    return paragraphs(
        "Parameter counts, multiply-adds and outputs of the models are held in tests against "
        "figures by hand and against PyTorch with the same weights. ResNet-20 trained without "
        f"federation on all of CIFAR-10 for {found['epochs']} epochs reaches {ours:.1f} %, and a "
        "PyTorch twin that starts from the same weights and is sent the very same batches "
        f"{twin:.1f} % (`python benchmarks/peers/centralised.py --data cifar10.npz --epochs 5`, "
        "[raw figures](results/centralised-cifar10-cpu.json)). A full training waits for a GPU."
    )


def growth_found(raw: Raw) -> str:
    """Ten thousand clients."""
    points = raw("growth-cpu")["points"]
    clients = {point["x"]: point for point in points if point["axis"] == "clients"}
    (named,) = (point for point in points if point["axis"] == "named")
    few, many = (clients[count]["seconds_a_round"] for count in (min(clients), max(clients)))
    return paragraphs(
        "Ten thousand clients of ResNet-20, a hundred a round, take "
        f"{named['seconds_a_round']:.1f} s a round on two cores, and "
        f"{named['peak_resident_bytes'] / 1e9:.1f} GB at the peak; a round of ten clients out of "
        f"{max(clients):,} takes {many / few:.2f} times one out of {min(clients)} "
        "(`benchmarks/growth.py`, [plots](../../benchmarks/results/growth-cpu.png))."
    )


def precision_found(raw: Raw) -> str:
    """What bfloat16 does to accuracy."""
    found = raw("precision-cpu")["against_float32"]

    def mean(by_figure: dict[str, Any]) -> float:
        return statistics.fmean(by_figure["points_by_seed"]["period_deployed_accuracy"])

    most = max(abs(mean(kinds["bfloat16"])) for kinds in found.values())
    same = all(kinds["tf32"]["weights_equal_bit_by_bit"] for kinds in found.values())
    return paragraphs(
        "`execution.precision bfloat16` computes in bfloat16 and keeps and updates the weights in "
        "float32; over 20 rounds on digits it changes the mean accuracy of the last period by at "
        f"most {most:.2f} points (`benchmarks/precision.py`, "
        "[raw figures](../../benchmarks/results/precision-cpu.json))."
        + (" `tf32` is float32 on a CPU, bit by bit." if same else "")
    )


def readme_speed(raw: Raw) -> str:
    """README's sentences on codebooks and speed."""
    words = {"cifar_resnet20": "ResNet-20", "cifar_cnn": "a small CNN", "tiny_mlp": "tiny clients"}
    ratios = [
        f"{1 / round_ratio(raw, task, 'torch_loop'):.2f} times ({name})"
        for task, name in words.items()
    ]
    return paragraphs(
        f"Codebooks are at most {100 * optimum_excess(raw):.2f} % above the optimum, in "
        "milliseconds. On two CPU cores a round takes, beside a plain PyTorch loop's, "
        f"{', '.join(ratios)}: [speed](fedcode_jax/bench/PERFORMANCE.md). Nothing has been "
        "measured on a GPU or TPU yet; what a run would take there, `fedcode bench --target "
        "h100` says without one."
    )


BLOCKS = {
    "subset-found": subset_found,
    "centralised-found": centralised_found,
    "growth-found": growth_found,
    "precision-found": precision_found,
    "readme-speed": readme_speed,
}
