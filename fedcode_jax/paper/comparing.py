"""What the runs of a task come to: means over seeds, and differences seed by seed."""

import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fedcode_jax.experiment import SweepRun
from fedcode_jax.paper.reading import REFERENCE, SUBJECT, Paper
from fedcode_jax.paper.running import Runs
from fedcode_jax.results.intervals import Interval, interval

WINDOW = 10
"""Last rounds over which accuracy is averaged: both periods of the published schedule."""
ACCURACIES = ("test_accuracy", "deployed_accuracy")


class Row(NamedTuple):
    """A method on a partition of a task.

    Attributes:
      method: by name.
      accuracy: of the server's weights and of the deployed model, in percent, over seeds.
      less: the same less the reference's, in points, seed by seed.
      reduction: FedAvg's measured bytes over its own, both ways, over seeds.
      formula: the same by the paper's count of bits.
      failed: how many runs did not complete, which count nowhere.
    """

    method: str
    accuracy: tuple[Interval, Interval]
    less: tuple[Interval, Interval]
    reduction: Interval
    formula: Interval
    failed: int


def row(paper: Paper, runs: Runs, method: str, partition: str) -> Row:
    """What a method comes to; a quirk is set against FedCode, all others against FedAvg."""
    reference = SUBJECT if paper.methods[method].quirk else REFERENCE
    own = completed(runs, method, partition)
    theirs = completed(runs, reference, partition)

    def spread(figure: Callable[[SweepRun], float]) -> Interval:
        return interval(figure(run) for run in own.values())

    def accuracies(name: str) -> tuple[Interval, Interval]:
        figure = lambda run: accuracy(run, name)  # noqa: E731
        both = [seed for seed in own if seed in theirs]
        less = interval(figure(own[seed]) - figure(theirs[seed]) for seed in both)
        return spread(figure), less

    levels, differences = zip(*map(accuracies, ACCURACIES), strict=True)
    return Row(
        method,
        levels,
        differences,
        spread(lambda run: run.summary["reduction_vs_fedavg"]),
        spread(lambda run: run.summary["reduction_formula"]),
        paper.seeds - len(own),
    )


def told_apart(runs: Runs, one: str, other: str, partition: str) -> Interval:
    """The accuracy of one method's deployed model less another's, in points, seed by seed."""
    first, second = (completed(runs, method, partition) for method in (one, other))
    name = ACCURACIES[1]
    return interval(
        accuracy(first[seed], name) - accuracy(second[seed], name)
        for seed in first
        if seed in second
    )


class Overall(NamedTuple):
    """What stands beside a published figure.

    Attributes:
      reduction: FedAvg's measured bytes over the method's, both ways.
      formula: the same by the paper's count of bits.
      below: points of accuracy below FedAvg, of the server's weights and of the deployed model;
        with an interval over seeds where there is one task and partition.
      places: of how many tasks and partitions these are means.
    """

    reduction: float
    formula: float
    below: tuple[Interval, Interval]
    places: int


def overall(paper: Paper, runs: dict[str, Runs], method: str, data: str) -> Overall | None:
    """What stands beside a published figure: means over headline tasks, partitions and seeds.

    Args:
      paper: the experiments.
      runs: by task.
      method: by name.
      data: ``IID``, ``non-IID`` or ``pooled``, which is both.

    Returns:
      The means; None where there is nothing of the kind.
    """
    rows = [
        row(paper, runs[task], method, partition)
        for task in paper.headline
        for partition, kind in paper.kinds.items()
        if data in ("pooled", kind)
    ]
    rows = [each for each in rows if each.less[0].n]
    if not rows:
        return None
    below = [
        Interval(
            -statistics.mean(each.less[model].mean for each in rows),
            rows[0].less[model].half_width if len(rows) == 1 else None,
            min(each.less[model].n for each in rows),
        )
        for model in range(len(ACCURACIES))
    ]
    return Overall(
        statistics.mean(each.reduction.mean for each in rows),
        statistics.mean(each.formula.mean for each in rows),
        (below[0], below[1]),
        len(rows),
    )


def rise(runs: Runs, method: str, partition: str) -> tuple[float, float] | None:
    """The accuracy of the server's weights at the first and last of the rounds that count.

    Returns:
      Means over seeds in percent; None where no run completed.
    """
    found = completed(runs, method, partition).values()
    if not found:
        return None
    figures = [[record[ACCURACIES[0]] for record in run.records[-WINDOW:]] for run in found]
    counted = [[each for each in own if each is not None] for own in figures]
    first, last = (100 * statistics.mean(each[end] for each in counted) for end in (0, -1))
    return first, last


def completed(runs: Runs, method: str, partition: str) -> dict[int, SweepRun]:
    """The runs of a method on a partition that completed, by seed."""
    return {
        seed: run
        for (name, where, seed), run in runs.items()
        if (name, where) == (method, partition) and run.summary["status"] == "completed"
    }


def accuracy(run: SweepRun, name: str) -> float:
    """Mean of the last rounds that were evaluated, in percent."""
    values = [record[name] for record in run.records[-WINDOW:] if record[name] is not None]
    return 100 * statistics.mean(values)


def failures(runs: Iterable[Runs]) -> list[str]:
    """What is to be said of the runs that did not complete."""
    return sorted(
        {
            f"{method}, {partition}, seed {seed}: {run.summary['status']}"
            f"{': ' + run.summary['error'] if run.summary.get('error') else ''}"
            for found in runs
            for (method, partition, seed), run in found.items()
            if run.summary["status"] != "completed"
        }
    )
