"""Which schedule: the tables of ``schedules.py`` at equal bytes, and what follows from them."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from tables_text import Raw, mean_error, paragraphs, signed, table

FILES = {"digits": "schedules-digits-cpu", "cifar10": "schedules-cifar10-cpu"}
ROWS = {
    "fedcode periodic": "`periodic`, f1 = f2",
    "fedcode paired": "`paired`",
    "fedcode warmup": "`warmup` (often first)",
    "fedcode late": "`late` (rare first)",
    "fedcode budget": "`budget`",
    "fedcode drift, codebook": "`drift`, by codebooks",
    "fedcode drift, sketch": "`drift`, by sketch",
    "skip periodic": "`skip`, `periodic`, f1 = f2",
    "skip paired": "`skip`, `paired`",
    "skip warmup": "`skip`, `warmup`",
    "skip late": "`skip`, `late`",
}
Values = list[list[float] | None]
"""Of each level, one a seed; None where a curve does not reach it."""


def _tasks(raw: Raw, file: str) -> dict[str, Any]:
    return raw(FILES[file])["tasks"]


def at_levels(task: dict[str, Any], name: str) -> Values | None:
    """Accuracy in percent at each level of bytes, one a seed, linear in the logarithm of bytes."""
    curves = task["points_bytes_accuracy_by_seed"].get(name)
    if curves is None:
        return None
    found: Values = []
    for level in task["levels_bytes"]:
        values = []
        for curve in curves:
            amounts, accuracies = map(np.array, zip(*sorted(curve), strict=True))
            if not amounts[0] <= level <= amounts[-1]:
                break
            values.append(100 * float(np.interp(math.log(level), np.log(amounts), accuracies)))
        found.append(values if len(values) == len(curves) else None)
    return found


def over(raw: Raw, file: str, task: str, level: int, name: str, other: str) -> tuple[float, float]:
    """Mean points of a rule over another at a level, and the standard error, seed by seed."""
    found = [at_levels(_tasks(raw, file)[task], each) for each in (name, other)]
    own, its = (each[level] if each is not None else None for each in found)
    if own is None or its is None:
        return math.nan, math.nan
    points = [a - b for a, b in zip(own, its, strict=True)]
    return mean_error(points)


def _table(raw: Raw, file: str) -> str:
    tasks = _tasks(raw, file)
    columns, head = {}, ["rule"]
    for name, task in tasks.items():
        levels = [f"{level / 1e6:.3g} MB" for level in task["levels_bytes"]]
        split = name.partition(", ")[2]
        head += [f"{split}, {levels[0]}" if len(tasks) > 1 else levels[0], *levels[1:]]
        for rule in ROWS:
            values = at_levels(task, rule) or [None] * len(levels)
            means = [None if each is None else statistics.fmean(each) for each in values]
            columns.setdefault(rule, []).extend(means)
    best = [
        max(mean for means in columns.values() if (mean := means[i]) is not None)
        for i in range(len(head) - 1)
    ]

    def cell(mean: float | None, most: float) -> str:
        if mean is None:
            return ""
        return f"**{mean:.1f}**" if f"{mean:.1f}" == f"{most:.1f}" else f"{mean:.1f}"

    rows = [
        [words, *(cell(mean, most) for mean, most in zip(columns[rule], best, strict=True))]
        for rule, words in ROWS.items()
        if any(mean is not None for mean in columns[rule])
    ]
    return table(head, rows)


def schedules_digits(raw: Raw) -> str:
    """On digits."""
    return _table(raw, "digits")


def schedules_cifar10(raw: Raw) -> str:
    """On CIFAR-10."""
    return _table(raw, "cifar10")


def _all_over(
    raw: Raw, pairs: Sequence[tuple[str, str]], name: str, other: str
) -> list[tuple[str, float, float, float]]:
    """Differences at every level that both reach: task, megabytes, points, standard error."""
    found = []
    for file, task in pairs:
        for level, amount in enumerate(_tasks(raw, file)[task]["levels_bytes"]):
            points, error = over(raw, file, task, level, name, other)
            if math.isfinite(points):
                found.append((task, amount / 1e6, points, error))
    return found


def _range(found: Sequence[tuple[str, float, float, float]]) -> str:
    points = [each[2] for each in found]
    return f"{signed(min(points))} to {signed(max(points))}"


def schedules_found(raw: Raw) -> str:
    """What the tables say."""
    iid, skewed = (("digits", task) for task in _tasks(raw, "digits"))
    images = ("cifar10", next(iter(_tasks(raw, "cifar10"))))
    every = [iid, skewed, images]

    def least(name: str, other: str) -> str:
        """At the least bytes of each task."""
        each = [over(raw, *pair, 0, name, other) for pair in every]
        words = ("on IID digits", "on Dirichlet digits", "on CIFAR-10")
        return ", ".join(f"{p:.1f} ± {e:.1f} {w}" for (p, e), w in zip(each, words, strict=True))

    def ranges(name: str, other: str) -> str:
        found = [_range(_all_over(raw, [pair], name, other)) for pair in every]
        return "{} points on IID digits, {} on Dirichlet digits, {} on CIFAR-10".format(*found)

    lasting = [
        each
        for name in ("fedcode drift, codebook", "fedcode budget")
        for each in _all_over(raw, every, name, "fedcode paired")
        if abs(each[2]) > 2 * each[3]
    ]
    exceptions = "; ".join(
        f"{signed(points)} ± {error:.1f} on {task} at {amount:.3g} MB"
        for task, amount, points, error in lasting
    )
    calm = [over(raw, *pair, 0, "skip periodic", "fedcode periodic")[0] for pair in (iid, skewed)]
    order = [over(raw, *pair, 0, "skip paired", "skip periodic")[0] for pair in (iid, skewed)]
    return paragraphs(
        "- **The order of the two directions matters, most of all to codebooks.** With equal "
        "periods the paper's schedule sends the server's weights in the round in which the clients "
        "send theirs, and so before the new average exists. The same number of messages with the "
        "server one round later (`paired`) is better at the least bytes of each task by "
        f"{least('fedcode paired', 'fedcode periodic')}. `skip`, which has no codebooks to move "
        f"weights in between, is {calm[0]:.1f} and {calm[1]:.1f} points ahead of FedCode under "
        f"`periodic` on digits there, and gains {order[0]:.1f} and {order[1]:.1f} by the order.",
        "- **Often first or rare first? Neither; space them evenly.** `late` less `warmup` is "
        f"{ranges('fedcode late', 'fedcode warmup')}: the figures do not agree on a direction. "
        f"`paired` less `late` is {ranges('fedcode paired', 'fedcode late')}; less `warmup` "
        f"{ranges('fedcode paired', 'fedcode warmup')}.",
        "- **Adaptive rules add little to even spacing.** Beside `paired`, `drift` by codebooks "
        "and `budget`, which is even spacing without a start of its own, are within two standard "
        f"errors but for {exceptions}.",
        "- **Sending nothing between calibrations (`skip`) is as good or better at equal bytes**: "
        f"with it `paired` less FedCode's is {ranges('skip paired', 'fedcode paired')}.",
        "- `step_size`, under a learning rate that falls, less `paired` under the same is "
        + "{} points on IID digits and {} on Dirichlet digits.".format(
            *(
                _range(
                    _all_over(raw, [pair], "fedcode step_size, cosine", "fedcode paired, cosine")
                )
                for pair in (iid, skewed)
            )
        ),
    )


BLOCKS = {
    "schedules-digits": schedules_digits,
    "schedules-cifar10": schedules_cifar10,
    "schedules-found": schedules_found,
}
