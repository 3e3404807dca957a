"""Rows compared with a reference, seed by seed: which, over which seeds, and what is claimed."""

import csv
import io
import math

import numpy as np
import pytest

from fedcode_jax.errors import ConfigError
from fedcode_jax.results.intervals import interval
from fedcode_jax.results.report import group, judged, read_run, table_of, write_report
from fedcode_jax.results.report.cells import differences_grid
from fedcode_jax.results.report.columns import differences_csv
from fedcode_jax.results.report.rendering import latex

K = "algorithm.num_clusters"
ALPHA = {"partition.name": "dirichlet"}


def compared(paths, against=None, by=()):
    """The table, and its comparisons by label."""
    table = judged(table_of(group([read_run(path) for path in paths], by)), against)
    return table, {each.group.label: each for each in table.comparisons}


def rows(make_run, name, accuracies, *, first=0, **options):
    """A run for each seed, with the same accuracy in both of its rounds."""
    return [
        make_run(f"{name}{seed}", [accuracy] * 2, seed=seed, **options)
        for seed, accuracy in enumerate(accuracies, first)
    ]


def fedavg(**settings):
    return {"algorithm.name": "fedavg", **settings}


def labels(reference):
    return [each.label for each in reference.groups]


def test_differences_are_taken_seed_by_seed_with_a_t_interval(make_run):
    own, theirs = [0.5, 0.7, 0.6, 0.9], [0.4, 0.5, 0.55, 0.85]
    paths = rows(make_run, "a", own, size=500)
    paths += rows(make_run, "b", theirs, size=2000, settings=fedavg())
    table, found = compared(paths)
    assert labels(table.reference) == ["fedavg"]
    accuracy, deployed, sent = found["fedcode"].differences
    expected = interval(np.subtract(own, theirs).tolist())
    assert accuracy == pytest.approx(expected)
    assert accuracy.half_width == pytest.approx(
        3.18245 * np.std([0.1, 0.2, 0.05, 0.05], ddof=1) / 2, rel=1e-5
    )
    assert deployed == pytest.approx(interval(np.subtract(own, theirs) / 2))
    assert (math.exp(sent.mean), found["fedcode"].seeds) == (pytest.approx(4), 4)
    grid = differences_grid(table)
    assert grid.titles[:3] == ("group", "seeds", "accuracy, mean of last period (points)")
    assert grid.rows == (
        ("4", "+10.00 [-1.25, +21.25] not told apart", "+5.00 [-0.63, +10.63] not told apart",
         "4.00x fewer"),
    )  # fmt: skip


def test_bytes_that_differ_by_seed_have_an_interval_of_their_ratio(make_run):
    paths, sizes = [], {"fedcode": [500, 900, 700], "fedavg": [2000, 2100, 2200]}
    for name, each in sizes.items():
        for seed, size in enumerate(each):
            setting = {"algorithm.name": name}
            paths.append(make_run(f"{name}{seed}", [0.5], seed=seed, size=size, settings=setting))
    table, found = compared(paths)
    logs = np.log(np.divide(sizes["fedavg"], sizes["fedcode"]))
    sent = found["fedcode"].differences[2]
    assert sent == pytest.approx(interval(logs))
    low, high = np.exp([sent.low, sent.high])
    assert differences_grid(table).rows[0][-1] == f"3.08x [{low:.2f}, {high:.2f}] fewer"


def test_only_seeds_that_both_have_count_and_completed_runs(make_run):
    paths = rows(make_run, "a", [0.5, 0.6, 0.7, 0.8])
    paths += rows(make_run, "b", [0.4, 0.5], first=2, settings=fedavg())
    paths += [make_run("b4", [0.9] * 2, seed=1, status="diverged", settings=fedavg())]
    _, found = compared(paths)
    assert found["fedcode"].seeds == 2
    assert found["fedcode"].differences[0] == pytest.approx(interval([0.3, 0.3]))


def test_one_seed_has_no_interval_and_says_so(make_run):
    table, _ = compared(
        [make_run("a", [0.5]), make_run("b", [0.4], settings=fedavg())],
    )
    assert differences_grid(table).rows[0][:2] == ("1", "+10.00 one seed")
    (row,) = csv.DictReader(io.StringIO(differences_csv(table)))
    assert float(row["final_accuracy_difference_mean"]) == pytest.approx(0.1)
    assert row["final_accuracy_difference_low"] == row["final_accuracy_difference_high"] == ""
    assert row["final_accuracy_difference_verdict"] == "one seed"
    assert row["total_bytes_ratio_mean"] == "1.0"


@pytest.mark.parametrize(
    ("apart", "word"),
    [
        ([0.1, 0.11, 0.12], "higher"),
        ([-0.1, -0.11, -0.12], "lower"),
        ([0.01, -0.01, 0.02], "not told apart"),
        ([0.01, 0.01, 0.01], "not told apart"),
    ],
)
def test_nothing_is_claimed_that_the_interval_does_not_bear(make_run, apart, word):
    paths = rows(make_run, "a", [0.5 + each for each in apart], size=3000)
    paths += rows(make_run, "b", [0.5] * 3, size=1000, settings=fedavg())
    table, _ = compared(paths)
    cells = differences_grid(table).rows[0]
    assert cells[1].endswith(f"] {word}")
    assert cells[3] == "0.333x more"
    text = latex(differences_grid(table))
    assert ("$-$" in text) == any(each < 0 for each in apart) or word == "not told apart"


def test_each_row_is_compared_with_fedavg_of_its_own_settings(make_run):
    paths = []
    for name, task in (("iid", {}), ("skewed", ALPHA)):
        for algorithm, gain in (("fedavg", 0.0), ("fedcode", 0.1 if task else 0.2)):
            settings = {"algorithm.name": algorithm, **task}
            accuracies = [0.5 + gain, 0.6 + gain]
            paths += rows(make_run, f"{name}{algorithm}", accuracies, settings=settings)
    paths += rows(make_run, "sgd", [0.3], settings={"local.optimizer": "sgd"})
    table, found = compared(paths)
    assert labels(table.reference) == ["fedavg iid", "fedavg dirichlet"]
    for task, gain in (("iid", 0.2), ("dirichlet", 0.1)):
        label = next(
            name for name in found if name.startswith(f"fedcode {task}") and "sgd" not in name
        )
        assert found[label].reference.label == f"fedavg {task}"
        assert found[label].differences[0].mean == pytest.approx(gain)
    (alone,) = (each for name, each in found.items() if "sgd" in name)
    assert alone.reference is None
    assert "differ in `local.optimizer`" in alone.why_not
    assert differences_grid(table).titles[1] == "against"


def test_without_fedavg_the_row_of_most_bytes_is_the_reference(make_run):
    paths = rows(make_run, "a", [0.5, 0.6], size=100, settings={K: 8})
    paths += rows(make_run, "b", [0.7, 0.7], size=300, settings={K: 32, "local.epochs": 2})
    table, found = compared(paths)
    (label,) = labels(table.reference)
    assert "num_clusters=32" in label
    (row,) = found.values()
    assert row.differences[0].mean == pytest.approx(-0.15)


def test_fedavg_with_compressed_changes_is_no_reference(make_run):
    paths = rows(make_run, "a", [0.5, 0.6], size=900, settings=fedavg())
    paths += rows(
        make_run, "b", [0.5, 0.6], size=9, settings=fedavg(**{"algorithm.up.name": "topk"})
    )
    table, found = compared(paths)
    assert labels(table.reference) == ["fedavg"]
    assert list(found) == ["fedavg up=topk"]


@pytest.mark.parametrize("against", ["num_clusters=8", "fedcode num-clusters=8", "fedcode 8 K"])
def test_a_reference_is_named_by_label_or_settings(make_run, against):
    paths = rows(make_run, "a", [0.5, 0.6], settings={K: 8})
    paths += rows(make_run, "b", [0.6, 0.8], settings={K: 16})
    paths += rows(make_run, "c", [0.1, 0.1], settings=fedavg())
    if "K" in against:
        with pytest.raises(ConfigError, match=r"against: 'fedcode 8 K' fits no row; .*'fedavg'"):
            compared(paths, against)
        return
    table, found = compared(paths, against)
    assert labels(table.reference) == ["fedcode num_clusters=8"]
    assert found["fedavg"].differences[0].mean == pytest.approx(-0.45)
    assert found["fedcode num_clusters=16"].differences[0].mean == pytest.approx(0.15)


def test_several_rows_of_a_setting_are_each_compared_with_their_like(make_run):
    paths = []
    for rate, gain in ((0.1, 0.0), (0.01, 0.05)):
        for algorithm, level in (("fedavg", 0.5), ("fedcode", 0.4)):
            settings = {"algorithm.name": algorithm, "local.learning_rate": rate}
            accuracies = [level + gain, level + gain + 0.1]
            paths += rows(make_run, f"{algorithm}{rate}", accuracies, settings=settings)
    _, found = compared(paths, "learning_rate=0.10")
    assert {name: each.reference.label for name, each in found.items()} == {
        "fedavg learning_rate=0.01": "fedavg learning_rate=0.1",
        "fedcode learning_rate=0.01": "fedcode learning_rate=0.1",
    }
    assert all(each.differences[0].mean == pytest.approx(0.05) for each in found.values())


def test_partitions_are_compared_only_where_they_are_asked_for(make_run):
    paths = rows(make_run, "a", [0.5, 0.6])
    paths += rows(make_run, "b", [0.4, 0.4], settings=ALPHA)
    _, found = compared(paths)
    assert [each.reference for each in found.values()] == [None]
    assert "differ in `partition.name`" in next(iter(found.values())).why_not
    _, found = compared(paths, "partition.name=iid")
    assert [each.differences[0].mean for each in found.values()] == [pytest.approx(-0.15)]


def test_runs_of_other_data_are_no_pair_even_under_the_same_settings(make_run):
    first, second = make_run("a", [0.5]), make_run("b", [0.4], settings=fedavg())
    for path, checksum in ((first, "one"), (second, "two")):
        text = (path / "summary.json").read_text()
        (path / "summary.json").write_text(
            text.replace("{", f'{{"data_checksum": "{checksum}",', 1)
        )
    _, found = compared([first, second])
    assert found["fedcode"].why_not.endswith("differ in `data_checksum`")


def test_a_pooled_row_counts_each_seed_once(make_run):
    paths = []
    for k, gain in ((8, 0.1), (16, 0.2)):
        paths += rows(make_run, f"k{k}", [0.5 + gain, 0.6 + gain], settings={K: k})
    paths += rows(make_run, "f", [0.5, 0.6], settings=fedavg())
    _, found = compared(paths, by=["algorithm.name"])
    assert found["fedcode"].seeds == found["fedcode"].differences[0].n == 2
    assert found["fedcode"].differences[0].mean == pytest.approx(0.15)


def test_what_cannot_be_compared_is_said_on_the_page(make_run, tmp_path):
    rows(make_run, "a", [0.5, 0.6])
    rows(make_run, "b", [0.5, 0.6], first=7, settings=fedavg())
    rows(make_run, "c", [0.5], status="diverged", settings={"algorithm.name": "skip"})
    write_report([tmp_path / "runs"], tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "## Differences to `fedavg`" in page
    assert "- `fedcode` is not compared: it has no seed in common with `fedavg`." in page
    assert "- `skip` is not compared: no run of it completed." in page
    alone = write_report([tmp_path / "runs" / "a0"], tmp_path / "alone")
    assert (alone.reference, alone.standings) == (None, ())
    page = (tmp_path / "alone" / "report.md").read_text()
    assert "No differences between rows are shown: there is one row." in page
    assert "Pareto-best" not in page.split("![")[0]


def test_a_reference_without_completed_runs_is_said(make_run):
    paths = rows(make_run, "a", [0.5])
    paths += rows(make_run, "b", [0.5], status="diverged", settings=fedavg())
    table, _ = compared(paths)
    assert labels(table.reference) == ["fedcode"]
    _, found = compared(paths, "fedavg")
    assert found["fedcode"].why_not == "no run of `fedavg` completed"


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("", "against: '' fits no row"),
        ("nothing=8", "against: there is no setting 'nothing'"),
        ("name=fedavg", "against: 'name' could be"),
        ("num_clusters=9", "against: 'num_clusters=9' fits no row"),
    ],
)
def test_a_reference_that_there_is_not(make_run, against, message):
    paths = [make_run("a", [0.5]), make_run("b", [0.5], settings={K: 8})]
    with pytest.raises(ConfigError, match=message):
        compared(paths, against)
