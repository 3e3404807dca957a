"""A whole report, as a folder."""

import json
import shutil

import pytest

import fedcode_jax
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results import write_report
from fedcode_jax.results.report import FILES, PAGE, frontier, standing

PLOTS = {"curves.png", "accuracy-bytes.png", "frontier.png", "fairness.png", "time.png"}


@pytest.fixture
def runs(make_run, tmp_path):
    for seed in range(2):
        make_run(f"a{seed}", [0.2, 0.5 + seed / 10], seed=seed, clients=[0.3, 0.8])
    make_run("b", [0.3, 0.4], settings={"algorithm.name": "skip"})
    make_run("c", [0.3], seed=1, status=None, settings={"algorithm.name": "skip", "rounds": 2})
    return tmp_path / "runs"


def test_a_report_holds_its_files_and_a_page_that_shows_them(runs, tmp_path):
    out = tmp_path / "new" / "report"
    table = write_report([runs], out, target=0.5)
    assert {file.name for file in out.iterdir()} == set(FILES)
    assert set(FILES) > PLOTS
    page = (out / PAGE).read_text()
    assert (out / "table.md").read_text() in page
    for plot in PLOTS:
        assert (out / plot).read_bytes().startswith(b"\x89PNG")
        after = page.split(f"]({plot})\n\n")[1]
        assert len(after.split("\n\n")[0]) > 50
        assert (out / plot.replace("png", "pdf")).read_bytes().startswith(b"%PDF")
    assert (out / "differences.md").read_text() in page
    assert "4 runs in 2 groups. All have: `rounds=2`." in page
    assert f"- `{runs / 'c'}` (unfinished after 1 round) is in no figure." in page
    assert [group.label for group in table.groups] == ["fedcode", "skip"]


def test_a_report_tells_the_faults_of_all_runs_together(runs, tmp_path):
    write_report([runs], tmp_path / "before")
    assert "Faults" not in (tmp_path / "before" / PAGE).read_text()
    for name, count in (("a0", 2), ("b", 3)):
        file = runs / name / "summary.json"
        found = {"faults": {"vanished": count, "rejected_corrupt": 0}}
        file.write_text(json.dumps(json.loads(file.read_text()) | found))
    write_report([runs], tmp_path / "out")
    said = "Faults, in 2 runs: 5 vanished, 0 rejected corrupt."
    assert said in (tmp_path / "out" / PAGE).read_text()


def test_pooled_groups_are_explained(runs, tmp_path):
    write_report([runs], tmp_path / "out", by=["rounds"])
    page = (tmp_path / "out" / PAGE).read_text()
    assert "The runs of `rounds=2` also differ in `algorithm.name`" in page


def test_rows_may_be_given_by_name(runs, tmp_path):
    """Whatever their runs differ in."""
    rows = {"ours": [runs / "a0", runs / "a1"], "without, and cut off": [runs / "b", runs / "c"]}
    table = write_report(rows, tmp_path / "out", against="ours")
    assert [group.label for group in table.groups] == list(rows)
    assert [len(group.runs) for group in table.groups] == [2, 2]
    page = (tmp_path / "out" / PAGE).read_text()
    compared = page.split("## Differences to `ours`")[1]
    assert "| `without, and cut off` | 1 |" in compared
    assert "one seed" in compared


def test_a_row_may_be_one_folder(runs, tmp_path):
    table = write_report({"one": runs / "a0", "other": str(runs / "b")}, tmp_path / "out")
    assert [len(group.runs) for group in table.groups] == [1, 1]
    assert len(write_report(runs, tmp_path / "all").groups) == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({}, "no row was given"),
        ({"a": None}, "None is no list of folders"),
        ({"a": [1]}, "1 is no folder"),
        ({1: []}, "1 cannot name a row"),
        ({"two\nlines": []}, "cannot name a row; give a text of one line"),
        (None, "None is no list of folders"),
    ],
)
def test_rows_that_cannot_be_are_told(rows, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        write_report(rows, tmp_path / "out")


def test_rows_that_have_names_are_not_grouped_as_well(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"by: rounds cannot be used with rows that have names"):
        write_report({"all": [runs]}, tmp_path / "out", by=["rounds"])
    copy = tmp_path / "copies" / "a0"
    shutil.copytree(runs / "a0", copy)
    with pytest.raises(ConfigError, match="same experiment with the same seed"):
        write_report({"twice": [runs / "a0", copy]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_before_it_is_asked_for(runs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_report([runs], out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    monkeypatch.setattr("fedcode_jax.results.report.writing.read_run", None)
    with pytest.raises(ConfigError, match=r"already holds report.md; .* --overwrite"):
        write_report([runs], out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_the_same_runs_give_the_same_bytes(runs, tmp_path):
    for name in ("one", "two"):
        write_report([runs], tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_overwriting_leaves_nothing_of_the_earlier_report(runs, make_run, tmp_path):
    out = tmp_path / "out"
    write_report([runs], out)
    (out / "notes.txt").touch()
    write_report([make_run("only", [0.5], status="diverged")], out, overwrite=True)
    files = {file.name for file in out.iterdir()}
    assert files == {"report.md", "table.md", "table.tex", "table.csv", "notes.txt"}
    assert "No run completed" in (out / PAGE).read_text()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_plots_of_a_run_are_not_replaced(runs, overwrite):
    with pytest.raises(ConfigError, match=r"holds a run .* choose another --out"):
        write_report([runs], runs / "b", overwrite=overwrite)


def test_out_must_be_a_folder_that_can_be_written(runs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not a folder"):
        write_report([runs], tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report([runs], tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": "fedavgs"}, r"against: 'fedavgs' fits no row; .* rows are 'fedcode', 'skip'"),
        ({"width": "colum"}, r"width: unknown name 'colum'\. Did you mean 'column'"),
    ],
)
def test_mistakes_stop_the_report_before_it_writes(runs, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        write_report([runs], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_long_and_odd_names_are_short_in_pictures_and_whole_on_the_page(make_run, tmp_path):
    names = ["[`x|_$y\n" + "long" * 30, "[`x|_$y\n" + "long" * 31, "*猫\t狗"]
    for number, name in enumerate(names):
        make_run(str(number), [0.3, 0.5 + number / 10], clients=[0.1], settings={"data.name": name})
    table = write_report([tmp_path / "runs"], tmp_path / "out", width="column")
    assert [each.label for each in table.groups] == [" ".join(name.split()) for name in names]
    short = [each.short for each in table.groups]
    assert len(set(short)) == 3
    assert max(map(len, short)) < 60
    page = (tmp_path / "out" / PAGE).read_text()
    assert f"``{'[`x|_$y ' + 'long' * 30}``" in page.replace("\\|", "|")
    assert len((tmp_path / "out" / "table.md").read_text().splitlines()) == 2 + 3
    latex = (tmp_path / "out" / "table.tex").read_text().splitlines()
    assert latex[5].startswith(r"{}[`x$|$\_\$y long")
    assert latex[7].startswith(r"{}*? ? & ")


def test_a_damaged_run_stops_the_report_before_it_writes(runs, tmp_path):
    (runs / "b" / "metrics.jsonl").write_text("{\n")
    with pytest.raises(CheckpointError, match=r"b/metrics.jsonl, line 1"):
        write_report([runs], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_groups_than_lines_that_can_be_told_apart(make_run, tmp_path):
    for k in range(2, 18):
        make_run(f"k{k}", [0.1, 0.02 * k], size=100 * k, settings={"algorithm.num_clusters": k})
    write_report([tmp_path / "runs"], tmp_path / "out")
    page = (tmp_path / "out" / PAGE).read_text()
    assert page.count("14 of 16 groups are drawn") == 2
    assert page.count("14 of 16 groups are in colour") == 1


@pytest.mark.parametrize("others", [{}, {"periodic": 2}])
def test_runs_without_a_period_are_compared_by_their_last_round(make_run, tmp_path, others):
    """Alone, and beside runs that have one."""
    for rule in ("drift", "budget", "step_size"):
        make_run(rule, [0.1, 0.4], period=None, settings={"schedule.name": rule})
    for rule, period in others.items():
        make_run(rule, [0.9, 0.3], period=period, settings={"schedule.name": rule})
    table = write_report([tmp_path / "runs"], tmp_path / "out")
    assert standing.measure(table) == "final_accuracy"
    found = {place.accuracy.mean for place in frontier.places(table)}
    assert found == ({0.4, 0.3} if others else {0.4})
    assert len(frontier.places(table)) == 3 + len(others)
    axes = frontier.plot_frontier(table, {}).axes[0]
    assert axes.get_ylabel() == "accuracy, last round (%)"
    assert "-" in (tmp_path / "out" / PAGE).read_text()


def test_runs_that_all_have_a_period_are_compared_by_it(make_run, tmp_path):
    make_run("a", [0.1, 0.4])
    make_run("b", [0.2, 0.3], settings={"schedule.name": "paired"})
    table = write_report([tmp_path / "runs"], tmp_path / "out")
    assert standing.measure(table) == "period_accuracy"
    assert [place.accuracy.mean for place in frontier.places(table)] == [0.25, 0.25]
    axes = frontier.plot_frontier(table, {}).axes[0]
    assert axes.get_ylabel() == "accuracy, mean of last period (%)"


def test_real_runs(tmp_path):
    base = {
        "rounds": 2,
        "schedule.server_period": 2,
        "model.name": "mlp",
        "partition.num_clients": 2,
        "local.epochs": 1,
    }
    results = []
    for seed in range(2):
        out = str(tmp_path / "runs" / str(seed))
        config = replace(ExperimentConfig(), {**base, "seed": seed, "out": out})
        results.append(fedcode_jax.run(config))
    table = write_report([tmp_path / "runs"], tmp_path / "report", target=0.01)
    alone = {name for name in FILES if not name.startswith("differences")}
    assert {file.name for file in (tmp_path / "report").iterdir()} == alone
    (cells,) = table.cells
    by_name = dict(zip((column.name for column in table.columns), cells, strict=True))
    for name in ("final_accuracy", "period_accuracy", "simulated_seconds"):
        mean = sum(result.summary[name] for result in results) / 2
        assert by_name[name].mean == pytest.approx(mean)
    assert by_name["worst_decile"].n == 2
    assert by_name["rounds_to_0.01"].mean == 1
