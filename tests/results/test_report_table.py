"""The figures of a report against numpy, and its four renderings."""

import csv
import io

import numpy as np
import pytest
from rich.console import Console

from fedcode_jax.errors import ConfigError
from fedcode_jax.results.report import for_terminal, group, read_run, table_of
from fedcode_jax.results.report.cells import figures_grid
from fedcode_jax.results.report.columns import figures_csv
from fedcode_jax.results.report.rendering import escape, latex, markdown

CURVES = ([0.2, 0.5, 0.8], [0.1, 0.3, 0.9], [0.3, 0.4, 0.5])


def table(paths, target=None, by=()):
    return table_of(group([read_run(path) for path in paths], by), target)


def cell(found, name, row=0):
    return found.cells[row][[column.name for column in found.columns].index(name)]


def shown(found, title, row=0):
    grid = figures_grid(found)
    return grid.rows[row][grid.titles.index(title) - 1]


def seeds(make_run, **options):
    return [
        make_run(f"s{seed}", curve, seed=seed, size=1000 * (seed + 1), **options)
        for seed, curve in enumerate(CURVES)
    ]


def test_means_and_deviations_are_numpys(make_run):
    found = table(seeds(make_run, clients=[0.25, 0.75]))
    period = [np.mean(curve[-2:]) for curve in CURVES]
    sent = 9000 * np.arange(1, 4)
    expected = {
        "final_accuracy": [curve[-1] for curve in CURVES],
        "period_accuracy": period,
        "period_deployed_accuracy": np.array(period) / 2,
        "worst_decile": [0.25] * 3,
        "uplink_bytes": sent / 3,
        "downlink_bytes": 2 * sent / 3,
        "total_bytes": sent,
        "reduction_vs_fedavg": 30_000 / sent,
        "simulated_seconds": [6.0] * 3,
    }
    assert [column.name for column in found.columns] == list(expected)
    for name, values in expected.items():
        figures = cell(found, name)
        assert figures.mean == pytest.approx(np.mean(values))
        assert figures.sd == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert (figures.n, figures.of) == (3, 3)


def test_clients_own_models_have_a_column_where_some_run_has_them(make_run):
    title = "clients' own models (%)"
    paths = [make_run("a", CURVES[0], own=0.75), make_run("b", CURVES[1], seed=1, own=0.85)]
    paths.append(make_run("c", CURVES[0], settings={"algorithm.name": "fedavg"}))
    found = table(paths)
    assert sorted(shown(found, title, row) for row in (0, 1)) == ["- (0 of 1)", "80.0 ± 7.1"]
    assert "personal_accuracy" not in [column.name for column in table(paths[2:]).columns]


def test_cells_for_people(make_run):
    found = table([*seeds(make_run), make_run("big", [0.5] * 3, settings={"rounds": 99})])
    assert [each.label for each in figures_grid(found).groups] == ["rounds=3", "rounds=99"]
    assert shown(found, "final accuracy (%)") == "73.3 ± 20.8"
    assert shown(found, "final accuracy (%)", 1) == "50.0"  # one run has no deviation
    assert shown(found, "total (kB)") == "18.0 ± 9.0"
    assert shown(found, "reduction vs FedAvg") == "2.04 ± 1.16x"
    assert shown(found, "simulated time (s)") == "6.00"
    assert shown(found, "worst tenth of clients (%)") == "- (0 of 3)"
    assert shown(found, "seeds") == "3"


def test_time_is_in_hours_where_it_is_long(make_run):
    found = table([make_run("a", [0.5, 0.5], seconds=9000.0)])
    assert shown(found, "simulated time (h)") == "5.00"


def test_runs_that_did_not_complete_are_counted_and_in_no_mean(make_run):
    paths = [
        make_run("a", [0.4, 0.6], seed=0),
        make_run("b", [0.9, 0.1], seed=1, status="diverged"),
        make_run("c", [0.9], seed=2, status=None, settings={"rounds": 2}),
        make_run("d", [0.5], seed=3, status="interrupted", settings={"rounds": 2}),
        make_run("e", [], seed=4, status=None, settings={"rounds": 2}),
        make_run("f", [0.5, 0.5], seed=0, status="diverged", settings={"local.epochs": 9}),
    ]
    found = table(paths, target=0.8)
    assert cell(found, "final_accuracy")[:3] == (0.6, None, 1)
    assert cell(found, "rounds_to_0.8") == (None, None, 0, 1)
    assert shown(found, "seeds") == "1 of 5, 1 diverged, 2 unfinished, 1 interrupted"
    assert shown(found, "seeds", 1) == "0 of 1, 1 diverged"
    assert shown(found, "final accuracy (%)", 1) == "-"
    assert shown(found, "rounds to 80 %", 1) == "-"


def test_target_is_the_first_evaluated_round_that_reaches_it(make_run):
    paths = [
        make_run("a", [0.1, None, 0.5, 0.4, 0.9], seed=0),
        make_run("b", [0.6, 0.2, 0.3, 0.4, 0.1], seed=1),
        make_run("c", [0.1, 0.1, 0.1, 0.1, 0.1], seed=2),
    ]
    found = table(paths, target=0.5)
    assert cell(found, "rounds_to_0.5")[:3] == (2.0, pytest.approx(2**0.5), 2)
    assert cell(found, "bytes_to_0.5").mean == 6000
    assert cell(found, "seconds_to_0.5").mean == 4.0
    assert shown(found, "rounds to 50 %") == "2.0 ± 1.4 (2 of 3)"
    assert shown(table(paths, target=0.95), "time to 95 % (s)") == "- (0 of 3)"


@pytest.mark.parametrize("target", [0, 95, -0.5, float("nan")])
def test_target_must_be_a_fraction(make_run, target):
    with pytest.raises(ConfigError, match=r"target: .* cannot be used"):
        table([make_run("a", [0.5])], target=target)


def test_markdown(make_run):
    found = table([make_run("a", [0.5]), make_run("b", [0.5], settings={"data.name": "x|y"})])
    lines = markdown(figures_grid(found)).splitlines()
    assert lines[0].startswith("| group | seeds | final accuracy (%) |")
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    assert lines[3].startswith(r"| `x\|y` | 1 | 50.0 |")


def test_latex_escapes_what_means_something_to_it(make_run):
    assert escape(r"50 % of a_b & #1 ${x}^~\<|±") == (
        r"50 \% of a\_b \& \#1 \$\{x\}\textasciicircum{}\textasciitilde{}\textbackslash{}"
        r"$<$$|$$\pm$"
    )
    paths = seeds(make_run)
    found = table([*paths, make_run("b", [0.5], settings={"data.name": "a_b&c#d"})])
    lines = latex(figures_grid(found)).split("\n")
    assert lines[0] == r"% needs \usepackage{booktabs}"
    assert lines[1] == r"\begin{tabular}{ll" + "r" * 9 + "}"
    assert [lines[2], lines[4], lines[7], lines[8]] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    for line in (lines[3], *lines[5:7]):
        assert line.endswith(r" \\")
        assert line.replace(r"\&", "").count("&") == 10
        assert line.replace(r"\%", "").count("%") == 0
    assert lines[5].startswith(r"digits rounds=3 & 3 & 73.3 $\pm$ 20.8 & ")
    assert lines[6].startswith(r"a\_b\&c\#d rounds=1 & ")


def test_csv_has_every_figure_in_a_column_of_its_own(make_run):
    paths = [*seeds(make_run), make_run("x", [0.5], settings={"local.optimizer": "a,b"})]
    paths += [make_run("y", [0.5], seed=7, status="diverged", settings={"local.optimizer": "a,b"})]
    rows = list(csv.DictReader(io.StringIO(figures_csv(table(paths, 0.85)))))
    first, second = rows
    assert first["local.optimizer"] == "adam"
    assert second["local.optimizer"] == "a,b"
    assert float(first["final_accuracy_mean"]) == np.mean([0.8, 0.9, 0.5])
    assert float(first["final_accuracy_sd"]) == pytest.approx(np.std([0.8, 0.9, 0.5], ddof=1))
    assert (first["final_accuracy_n"], first["seeds"], first["runs"]) == ("3", "3", "3")
    assert (second["completed"], second["diverged"], second["runs"]) == ("1", "1", "2")
    assert second["final_accuracy_sd"] == second["rounds_to_0.85_mean"] == ""
    assert (float(first["rounds_to_0.85_mean"]), first["rounds_to_0.85_n"]) == (3.0, "1")


def test_pooled_rows_say_so(make_run):
    paths = [make_run("a", [0.5]), make_run("b", [0.7], settings={"algorithm.num_clusters": 8})]
    found = table(paths, by=["algorithm.name"])
    assert shown(found, "seeds") == "2 runs, 1 seed"
    assert "algorithm.num_clusters" in figures_csv(found)


@pytest.mark.parametrize(("width", "turned"), [(300, False), (60, True)])
def test_the_terminal_turns_a_wide_table(make_run, width, turned):
    found = table([make_run("a", [0.5], settings={"data.name": "[red]x"})])
    found = table([*(run.folder for run in found.groups[0].runs), make_run("b", [0.5])])
    console = Console(file=io.StringIO(), width=width)
    console.print(for_terminal(found, width))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == (len(found.columns) + 2 if turned else 3)
    assert "[red]x" in (lines[0] if turned else lines[1])
