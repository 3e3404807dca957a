"""Bits a weight and codebooks: the tables of ``coding.py``, and what ``codebooks.py`` found."""

import statistics
from typing import Any

from tables_text import Raw, paragraphs, table

NETWORKS = {"resnet20": "ResNet-20", "wide-resnet20": "wide"}
RUNS = {
    "cnn": "CNN, {:,} kernel weights, the default run",
    "resnet20": "ResNet-20, 4 clients, enlarged digits",
}
CODINGS = ("fixed", "entropy", "adaptive", "conditional")


def codes_table(raw: Raw) -> str:
    """Bits a weight of the codes of trained networks."""
    kinds = ("fixed", "entropy", "adaptive", "priced, adaptive")
    rows = [
        [
            NETWORKS[row["network"]],
            str(row["K"]),
            *(f"{row[kind] / row['weights']:.2f}" for kind in kinds),
        ]
        for row in raw("coding")["codes"]
    ]
    head = ["network", "K", "`fixed`", "`entropy`", "`adaptive`"]
    return table([*head, "`adaptive`, priced, at no more error"], rows)


def sent_table(raw: Raw) -> str:
    """Mean bits a weight in the weights rounds of runs."""
    sent, rows = raw("coding")["sent"], []
    for name, words in RUNS.items():
        own = [row for row in sent if row["run"] == name]
        means = [statistics.fmean(row[c] / row["weights"] for row in own) for c in CODINGS]
        cells = [f"{mean:.2f}" for mean in means]
        rows.append([words.format(own[0]["weights"]), *cells[:-1], f"**{cells[-1]}**"])
    return table(["run", *(f"`{coding}`" for coding in CODINGS)], rows)


def _fits(raw: Raw, **wanted: Any) -> list[dict[str, Any]]:
    return [
        row
        for row in raw("codebooks-cpu")["results"]
        if all(row[key] == value for key, value in wanted.items())
    ]


def optimum_excess(raw: Raw) -> float:
    """By how much our squared error is above the exact optimum, at most, as a fraction."""
    return max(row["error_over_optimum"]["fedcode_jax"] - 1 for row in _fits(raw))


def _milliseconds(row: dict[str, Any], what: str) -> float:
    return 1e3 * statistics.median(row["seconds_per_client"][what])


def codebooks_found(raw: Raw) -> str:
    """How near to the optimum codebooks are, and what they take."""
    every = _fits(raw)
    sizes = sorted({row["num_clusters"] for row in every})
    (one,) = _fits(raw, network="resnet20", weights="all", num_clusters=64)
    alone, many = (_milliseconds(one, who) for who in ("1 client", "100 clients"))
    peer = "scikit-learn 10 starts"
    ratios = [
        statistics.median(row["seconds_per_client"][peer]) * 1e3 / _milliseconds(row, "1 client")
        for row in every
        if peer in row["seconds_per_client"]
    ]
    above = [
        100 * (row["error_over_optimum"][peer] - 1)
        for row in every
        if peer in row["error_over_optimum"]
    ]
    return paragraphs(
        "Codebooks are fitted by a one-dimensional k-means whose squared error is at most "
        f"{100 * optimum_excess(raw):.3f} % above the exact optimum at K = "
        f"{', '.join(map(str, sizes))} on the weights of both networks. For {one['values']:,} "
        f"weights and K = 64 that takes {alone:.0f} ms on two CPU cores for a client alone and "
        f"{many:.0f} ms for each of 100 vmapped; scikit-learn's `KMeans` from ten starts takes "
        f"{min(ratios):,.0f} to {max(ratios):,.0f} times as long in the same run, and ends "
        f"{min(above):.1f} to {max(above):.1f} % above (`python benchmarks/codebooks.py`, "
        "[raw figures](results/codebooks-cpu.json))."
    )


BLOCKS = {
    "codes-table": codes_table,
    "sent-table": sent_table,
    "codebooks-found": codebooks_found,
}
