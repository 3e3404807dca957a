"""Which rows are Pareto-best, by brute force and by what the page says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcode_jax.results.report import group, judged, read_run, table_of
from fedcode_jax.results.report.cells import figures_grid
from fedcode_jax.results.report.columns import figures_csv
from fedcode_jax.results.report.standing import beats, measure, standings

K = "algorithm.num_clusters"
numbers = st.integers(0, 6).map(float)


def tabled(paths, by=()):
    return judged(table_of(group([read_run(path) for path in paths], by)))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12))
def test_what_nothing_beats_is_a_frontier(points):
    best = sorted(p for p in set(points) if not any(beats(q, p) for q in points))
    costs, gains = zip(*best, strict=True)
    assert list(costs) == sorted(set(costs))
    assert list(gains) == sorted(set(gains))
    for cost, gain in points:  # and it covers all others
        assert any(c <= cost and g >= gain for c, g in best)


@pytest.fixture
def methods(make_run):
    """Writes rows: ``(name, bytes, seconds, accuracies by seed)``."""

    def make(*rows, **settings):
        return [
            make_run(
                f"{k}-{seed}-{'-'.join(settings)}",
                [accuracy] * 2,
                seed=seed,
                size=size,
                seconds=seconds,
                settings={K: k, **settings},
            )
            for k, size, seconds, accuracies in rows
            for seed, accuracy in enumerate(accuracies)
        ]

    return make


def test_rows_are_ranked_by_means_and_told_apart_by_paired_intervals(methods):
    paths = methods(
        (2, 100, 9.0, [0.50, 0.60, 0.70]),
        (3, 200, 1.0, [0.40, 0.51, 0.58]),  # below the first in every seed
        (4, 200, 2.0, [0.55, 0.50, 0.69]),  # below it on means alone
        (5, 300, 3.0, [0.60, 0.71, 0.80]),
    )
    table = tabled(paths)
    assert table.standings == (
        ("best", "dominated"),
        ("dominated", "best"),
        ("not told apart", "best"),
        ("best", "best"),
    )
    marks = [row[-1] for row in figures_grid(table).rows]
    assert figures_grid(table).titles[-1] == "Pareto-best"
    assert marks == ["bytes", "time", "bytes?, time", "bytes, time"]
    assert figures_csv(table).splitlines()[3].endswith("not told apart,best")


def test_with_one_seed_nothing_is_told_apart(methods):
    table = tabled(methods((2, 100, 1.0, [0.9]), (3, 200, 2.0, [0.1])))
    assert [each.bytes for each in table.standings] == ["best", "not told apart"]


def test_equal_rows_are_both_best(methods):
    table = tabled(methods((2, 100, 1.0, [0.5, 0.6]), (3, 100, 1.0, [0.5, 0.6])))
    assert {each.bytes for each in table.standings} == {"best"}


def test_rows_of_other_partitions_are_not_compared_nor_times_over_other_networks(methods):
    good, bad = (2, 100, 1.0, [0.9, 0.8]), (2, 200, 2.0, [0.1, 0.01])
    paths = methods(good)
    paths += methods(bad, **{"partition.name": "dirichlet", "partition.alpha": 0.1})
    assert [each.bytes for each in tabled(paths).standings] == ["best", "best"]
    paths = paths[:2] + methods(bad, **{"network.uplink_mbit": 9.0})
    assert tabled(paths).standings == (("best", "best"), ("dominated", "best"))


def test_rows_without_figures_have_no_standing(make_run):
    paths = [
        make_run("a", [0.5], seconds=None),
        make_run("b", [0.5], status="diverged", settings={K: 8}),
        make_run("c", [None], settings={K: 4}),
    ]
    table = tabled(paths)
    assert table.standings == (("best", ""), ("", ""), ("", ""))
    assert [row[-1] for row in figures_grid(table).rows] == ["bytes", "", ""]


def test_ranks_are_those_of_a_plain_loop(methods):
    rng = np.random.default_rng(0)
    rows = [
        (k, int(rng.integers(1, 5)) * 100, float(rng.integers(1, 5)), rng.random(2).round(1))
        for k in range(2, 14)
    ]
    table = tabled(methods(*rows))
    assert measure(table) == "period_accuracy"
    means = [np.mean(row[3]) for row in rows]
    for i, standing in enumerate(standings(table)):
        for rank, column in ((standing.bytes, 1), (standing.seconds, 2)):
            beaten = [
                row[3] - rows[i][3]
                for row, mean in zip(rows, means, strict=True)
                if row[column] <= rows[i][column]
                and mean >= means[i] - 1e-12
                and (row[column] < rows[i][column] or mean > means[i] + 1e-12)
            ]
            assert (rank == "best") == (not beaten)
            clear = [d.mean() > 12.7062 * d.std(ddof=1) / 2**0.5 > 1e-9 for d in beaten]
            assert (rank == "dominated") == any(clear)
