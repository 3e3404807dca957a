"""What compressed changes show: the table of ``updates.py``, README's, and what follows."""

import statistics
from typing import Any

from tables_text import Raw, mean_error, paragraphs, signed, spread, table

SPLITS = ("IID", "Dirichlet 0.3")
THREE, TWO, PRICED = (
    f"{each}, both ways" for each in ("3 centers", "2 centers", "4 centers, priced")
)
LARGEST = "largest 5 %, both ways"
KINDS = ("last_ten_accuracy", "last_ten_deployed_accuracy")
WAYS = ("total_uplink_bytes", "total_downlink_bytes")


def _row(raw: Raw, split: str, name: str) -> dict[str, Any]:
    (row,) = (
        row
        for row in raw("updates-digits-cpu")["rows"]
        if (row["partition"], row["algorithm"]) == (split, name)
    )
    return row


def _mean(raw: Raw, split: str, name: str, figure: str) -> float:
    return statistics.fmean(run[figure] for run in _row(raw, split, name)["runs"])


def _bytes(raw: Raw, split: str, name: str) -> float:
    return sum(_mean(raw, split, name, way) for way in WAYS)


def _fewer(raw: Raw, split: str, name: str) -> str:
    return f"{_mean(raw, split, name, 'reduction_vs_fedavg'):.1f}"


def _apart(raw: Raw, split: str, name: str, other: str, kind: str = KINDS[1]) -> list[float]:
    """Points of a method over another, seed by seed."""
    pairs = zip(_row(raw, split, name)["runs"], _row(raw, split, other)["runs"], strict=True)
    return [100 * (run[kind] - its[kind]) for run, its in pairs]


def _under(raw: Raw, split: str, name: str, other: str = "fedavg") -> str:
    """Points of a method under another, as deployed, with the standard error."""
    mean, error = mean_error(_apart(raw, split, name, other))
    return f"{-mean:.2f} ± {error:.2f}"


def updates_table(raw: Raw) -> str:
    """Every row, over seeds."""
    rows = []
    for row in raw("updates-digits-cpu")["rows"]:
        split, name = row["partition"], row["algorithm"]
        cells = []
        for kind in KINDS:
            cells.append(spread([run[kind] for run in row["runs"]]))
            mean, error = mean_error(_apart(raw, split, name, "fedavg", kind))
            cells.append("" if name == "fedavg" else f"{signed(mean, 2)} ± {error:.2f}")
        cells += [f"{_mean(raw, split, name, way) / 1e6:.2f}" for way in WAYS]
        rows.append([split, f"`{name}`", *cells, f"{_fewer(raw, split, name)}x"])
    head = ["split", "algorithm", "mean of last 10 rounds", "less FedAvg", "the same, as deployed"]
    return table([*head, "less FedAvg", "MB up", "MB down", "reduction"], rows)


def updates_found(raw: Raw) -> str:
    """What the table says, all of the deployed model, in points, ± the standard error."""
    iid, skewed = SPLITS
    of_three = [
        *_apart(raw, iid, THREE, "fedavg"),
        *_apart(raw, skewed, THREE, "fedavg"),
    ]
    codes, skip = "fedcode, conditional", "skip, conditional"

    def less(name: str, split: str) -> str:
        return f"{100 * (1 - _bytes(raw, split, name) / _bytes(raw, split, TWO)):.0f} %"

    def over(split: str) -> str:
        points = _apart(raw, split, THREE, "fedcode")
        return (
            f"{statistics.fmean(points):.1f} ({sum(p > 0 for p in points)} of {len(points)} seeds)"
        )

    return paragraphs(
        f"- **Three centers both ways are as good as FedAvg here, at {_fewer(raw, iid, THREE)} "
        f"times fewer bytes on IID data and {_fewer(raw, skewed, THREE)} times on Dirichlet "
        f"data**: under it by {_under(raw, iid, THREE)} and {_under(raw, skewed, THREE)} points, "
        f"and by no more than {max(map(abs, of_three)):.2f} in any seed; a test image of 360 is "
        "0.28.",
        f"- Two centers save more, {_fewer(raw, iid, TWO)} and {_fewer(raw, skewed, TWO)} times, "
        f"and are {_under(raw, iid, TWO)} and {_under(raw, skewed, TWO)} points under FedAvg. Four "
        f"centers at a price of 0.05 a bit send more than three at none, and are "
        f"{_under(raw, iid, PRICED)} and {_under(raw, skewed, PRICED)} points under it.",
        "- Compressed on the way up alone, a run saves "
        f"{_fewer(raw, iid, '3 centers, up alone')} times: half of FedAvg's bytes go down.",
        "- The largest 5 % of the values cost more bytes than three centers, and accuracy besides: "
        f"they are {_under(raw, iid, LARGEST)} points under FedAvg on IID data, "
        f"{_under(raw, skewed, LARGEST)} on Dirichlet data.",
        f"- Changes of three centers are ahead of FedCode by {over(iid)} on IID data and "
        f"{over(skewed)} on Dirichlet data, with fewer bytes than its `fixed` codes. **Where bytes "
        "alone count, weights that are seldom sent still take the fewest**: FedCode with "
        f"`conditional` codes {less(codes, iid)} and {less(codes, skewed)} fewer than changes of "
        f"two centers, at {_under(raw, iid, codes, TWO)} points less on IID data and "
        f"{_under(raw, skewed, codes, TWO)} less on Dirichlet data; `skip` with them "
        f"{less(skip, iid)} and {less(skip, skewed)} fewer, at {_under(raw, iid, skip, TWO)} and "
        f"{_under(raw, skewed, skip, TWO)} less.",
    )


def readme_found(raw: Raw) -> str:
    """README's table, with the sentence before it."""
    named = {
        "fedcode, conditional": "`fedcode`, codes coded given earlier ones",
        "skip, conditional": "`skip`, which sends nothing between calibrations",
        THREE: "changes of three centers, both ways",
        LARGEST: "the largest 5 % of changes, both ways",
    }

    def accuracy(split: str, name: str) -> str:
        return spread([run[KINDS[1]] for run in _row(raw, split, name)["runs"]])

    rows = [
        [
            words,
            *(
                cell
                for split in SPLITS
                for cell in (accuracy(split, name), f"{_fewer(raw, split, name)}x fewer")
            ),
        ]
        for name, words in named.items()
    ]
    first = paragraphs(
        "Handwritten digits, 10 clients, 60 rounds, five seeds; accuracy as deployed, mean of the "
        "last ten rounds, in percent; bytes both ways against FedAvg's "
        f"({accuracy(SPLITS[0], 'fedavg')} on IID data, {accuracy(SPLITS[1], 'fedavg')} on "
        "Dirichlet 0.3):"
    )
    return f"{first}\n\n{table(['method', 'IID', 'bytes', 'Dirichlet 0.3', 'bytes'], rows)}"


BLOCKS = {
    "updates-table": updates_table,
    "updates-found": updates_found,
    "readme-found": readme_found,
}
