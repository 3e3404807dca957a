"""Rivals on the same wire: what the records of ``rivals.py`` on digits come to."""

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from tables_text import Raw, paragraphs

SPLITS = ("IID", "Dirichlet 0.3")
_FLOATS_DOWN = ("fedpaq", "drive", "eden", "signsgd", "fedbat")
_SPARSE = ("topk", "dgc", "stc", "fedpm")
Runs = list[dict[str, Any]]


def _records(raw: Raw) -> dict[str, Runs]:
    """Runs by the name of their record."""
    found = {}
    for path in sorted((raw.folder / "rivals" / "digits").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[path.name.partition(".")[0]] = record["runs"]
    return found


def _of(records: dict[str, Runs], name: str, split: str) -> Runs:
    return sorted(
        (run for run in records[name] if run["partition"] == split), key=lambda run: run["seed"]
    )


def _accuracy(runs: Runs) -> float:
    return 100 * statistics.fmean(run["last_ten_deployed_accuracy"] for run in runs)


def _fewer(runs: Runs) -> float:
    return statistics.fmean(run["reduction_vs_fedavg"] for run in runs)


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def rivals_found(raw: Raw) -> str:
    """What stands out."""
    records = _records(raw)
    iid, skewed = SPLITS

    def below(name: str, split: str, reference: str = "fedavg") -> float:
        found = (_accuracy(_of(records, each, split)) for each in (reference, name))
        return next(found) - next(found)

    def fewer(name: str, split: str) -> str:
        return f"{_fewer(_of(records, name, split)):.1f}"

    def over(names: tuple[str, ...], figure: Callable[[str, str], float]) -> list[list[float]]:
        """A figure of each method, by split."""
        return [[figure(name, split) for name in names] for split in SPLITS]

    def reduction(name: str, split: str) -> float:
        return _fewer(_of(records, name, split))

    def below_its_own(name: str, split: str) -> float:
        return below(name, split, _REFERENCES.get(name, "fedavg"))

    two, three = "2-centers-both-ways", "3-centers-both-ways"
    priced = "4-centers-priced-both-ways"
    broadcast = [each for values in over(_FLOATS_DOWN, reduction) for each in values]
    near = [max(values) for values in over(_FLOATS_DOWN, below_its_own)]
    sparse = [f"{min(values):.1f} to {max(values):.1f}" for values in over(_SPARSE, below)]
    ahead = {name: -below(name, skewed) for name in ("feddyn", "fedavgm")}
    return paragraphs(
        f"- FedAvg reaches {_accuracy(_of(records, 'fedavg', iid)):.1f} % on IID data and "
        f"{_accuracy(_of(records, 'fedavg', skewed)):.1f} % on Dirichlet 0.3, as deployed, mean "
        "of the last ten rounds.",
        f"- **On IID data changes by two centers both ways send {fewer(two, iid)} times fewer "
        f"bytes at {below(two, iid):.2f} points less**, three centers {fewer(three, iid)} times "
        f"fewer at {below(three, iid):.2f} less. On Dirichlet data four centers at a price of 0.05 "
        f"a bit send {fewer(priced, skewed)} times fewer at {below(priced, skewed):.2f} less, two "
        f"centers {fewer(two, skewed)} times fewer at {below(two, skewed):.2f} less.",
        "- Whatever broadcasts floats in every round, as most papers have it, stays about 2 times "
        f"fewer: {_named(_FLOATS_DOWN)} send {min(broadcast):.1f} to {max(broadcast):.1f} times "
        f"fewer, and are at most {near[0]:.1f} points below FedAvg under the same training on IID "
        f"data and {near[1]:.1f} on Dirichlet data.",
        f"- At shares of 1 % and less, {_named(_SPARSE[:3])} are, with the masks of `fedpm`, "
        f"{sparse[0]} points below FedAvg after 30 rounds of these few steps on IID data, "
        f"{sparse[1]} on Dirichlet data.",
        "- Where clients differ, what helps is not compression: `feddyn` is "
        f"{ahead['feddyn']:.1f} points ahead of FedAvg there, server momentum "
        f"{ahead['fedavgm']:.1f}, at FedAvg's bytes.",
    )


_REFERENCES = {"fedbat": "fedavg-sgd-learning-rate-0-1"}
"""What a method that needs other training is compared with."""

BLOCKS = {"rivals-found": rivals_found}
