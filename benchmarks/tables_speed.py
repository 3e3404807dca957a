"""Speed beside other programs, and of convolutions inside a loop, from their raw samples."""

import statistics
from collections.abc import Iterable
from typing import Any

from tables_text import Raw, paragraphs, table

TASKS = {
    "cifar_cnn": "pfl-research's CIFAR-10 benchmark: 50 of 1,000 clients, small CNN",
    "cifar_resnet20": "ResNet-20, 10 clients of 384 images (of 5,000), batch 128",
    "tiny_mlp": "MLP, 1,000 tiny clients a round",
}
FILES = {
    "cifar_cnn": ("peers-cifar_cnn-cpu",),
    "cifar_resnet20": ("peers-cifar_resnet20-cpu",),
    "tiny_mlp": ("peers-tiny_mlp-cpu", "peers-tiny_mlp-slow-cpu"),
}
PEERS = {
    "ours": "ours",
    "torch_loop": "PyTorch loop",
    "pfl": "pfl-research",
    "fedjax": "FedJAX",
    "flower": "Flower",
    "reference": "our reference loop",
}
MODELS = {"mobilenet_v2": "MobileNetV2", "yamnet": "YAMNet", "resnet20": "ResNet-20"}


def _best(raw: Raw, task: str, peer: str) -> dict[str, Any] | None:
    """Of the first file that has it: its median round at its better number of threads."""
    for file in FILES[task]:
        found = raw(file)["tasks"][task].get(peer, {})
        if "best" in found:
            return found["best"]
    return None


def round_ratio(raw: Raw, task: str, peer: str) -> float:
    """How many times our round another program's takes."""
    ours, its = _best(raw, task, "ours"), _best(raw, task, peer)
    assert ours is not None
    assert its is not None
    return its["median"] / ours["median"]


def peers_table(raw: Raw) -> str:
    """Milliseconds a round."""
    rows = []
    for task, words in TASKS.items():
        medians = {
            peer: best["median"] for peer in PEERS if (best := _best(raw, task, peer)) is not None
        }
        fastest = min(medians.values())
        cells = []
        for peer in PEERS:
            text = f"{1e3 * medians[peer]:,.0f}" if peer in medians else ""
            cells.append(f"**{text}**" if medians.get(peer) == fastest else text)
        rows.append([words, *cells])
    return table(["task", *PEERS.values()], rows)


def peers_found(raw: Raw) -> str:
    """How the table reads, and on how many threads each program ran."""
    ratios, threads = {}, {}
    for task in TASKS:
        ours = _best(raw, task, "ours")
        peers = [_best(raw, task, peer) for peer in PEERS if peer != "ours"]
        assert ours is not None
        ratios[task] = min(each["median"] for each in peers if each is not None) / ours["median"]
        tried = {
            run["threads"]
            for file in FILES[task][:1]
            for peer in raw(file)["tasks"][task].values()
            for run in peer.get("runs", [])
        }
        threads[task] = sorted(tried)
    two_alone = [TASKS[task].partition(",")[0] for task, tried in threads.items() if tried == [2]]
    clustering = {each["peer"]: each for each in raw("peers-clustering")["results"]}
    cost = {
        peer: sum(map(statistics.median, each["seconds"].values()))
        for peer, each in clustering.items()
    }
    return paragraphs(
        f"The fastest peer takes {ratios['cifar_cnn']:.2f} times our round on the small CNN, "
        f"{ratios['cifar_resnet20']:.2f} times on ResNet-20 in large batches, where nearly all "
        "time is convolution outside the cache, and "
        f"{ratios['tiny_mlp']:.0f} times on a thousand tiny clients. Each program runs at its "
        f"better setting of one or two threads, but on {', '.join(two_alone)} all run on two "
        "alone, and so do Flower and the reference loop; empty cells were not timed, and FedJAX "
        "has no batch norm.",
        "What is FedCode's own in a round, a client's codebook and the mapping of its weights to a "
        f"received one, takes {1e3 * cost['ours']:.1f} ms for ResNet-20 at K = 64; the authors' "
        "way, scikit-learn's k-means and a Python loop over the weights, "
        f"{cost['authors']:.0f} s (`benchmarks/peers/clustering.py`).",
    )


def _ratios(raw: Raw, operation: str) -> list[float]:
    """How many times longer automatic differentiation's way takes, of every layer."""
    files = ("convolutions-cpu", "convolutions-mobilenet_v2-cpu")
    return sorted(
        statistics.median(row["seconds"]["autodiff"]) / statistics.median(row["seconds"]["native"])
        for file in files
        for row in raw(file)["results"]
        if row["operation"] == operation
    )


def _step(raw: Raw, model: str, batch: int) -> str:
    (row,) = (
        row
        for row in raw("client-steps-cpu")["results"]
        if (row["model"], row["batch"]) == (model, batch)
    )
    (ratio,) = (ratio for name, ratio in row["ratio"].items() if name.startswith("torch"))
    return f"{ratio:.2f}"


def _spanned(values: Iterable[float]) -> str:
    found = list(values)
    return f"{statistics.median(found):.1f} times ({found[0]:.1f} to {found[-1]:.0f})"


def steps_found(raw: Raw) -> str:
    """Convolutions in a loop, and a client's step beside PyTorch's."""
    steps = [f"{_step(raw, model, 32)} for {words}" for model, words in MODELS.items()]
    return paragraphs(
        "Each core trains a client of its own, with convolutions written so that XLA:CPU runs them "
        "well inside a loop. Beside what automatic differentiation leaves there they are faster, "
        f"in the median over layers, by {_spanned(_ratios(raw, 'kernel gradient'))} in the "
        f"gradients of kernels, {_spanned(_ratios(raw, 'input gradient'))} in those of inputs and "
        f"{_spanned(_ratios(raw, 'forward'))} forward (`benchmarks/convolutions.py`, "
        "[raw figures](../../benchmarks/results/convolutions-cpu.json)). On one core a client's "
        f"step takes, of a plain PyTorch loop's time, {', '.join(steps)} in batches of 32, and "
        f"{_step(raw, 'cnn_pfl', 10)} for the small CNN in batches of 10: medians of 15 turns, on "
        "a shared machine (`benchmarks/client_steps.py`, "
        "[raw figures](../../benchmarks/results/client-steps-cpu.json))."
    )


BLOCKS = {"peers-table": peers_table, "peers-found": peers_found, "steps-found": steps_found}
