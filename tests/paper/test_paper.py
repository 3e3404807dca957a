"""The paper's experiments: read, run, gone on with, and set beside what was published."""

import dataclasses
import math
import statistics

import pytest
import yaml

from fedcode_jax import paper
from fedcode_jax.cli import main
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment import SweepRun
from fedcode_jax.paper import comparing

TINY = {
    "title": "a tiny network",
    "seeds": 2,
    "settings": {"rounds": 3, "partition.num_clients": 3, "local.epochs": 1},
    "tasks": {"digits": {"model.name": "mlp", "model.hidden": [8]}},
    "headline": ["digits"],
    "partitions": ["IID", "Dirichlet 0.3"],
    "methods": ["fedavg", "fedcode", "skip"],
    "quirks": ["server one round later"],
    "quirk_partitions": ["IID"],
}


def folder_with(path, **changes):
    """A folder of experiments with one scale, ``tiny``."""
    methods = yaml.safe_load((paper.home() / "methods.yaml").read_text())
    (path / "methods.yaml").write_text(yaml.safe_dump(methods, sort_keys=False))
    (path / "tiny.yaml").write_text(yaml.safe_dump({**TINY, **changes}))
    return path


@pytest.mark.parametrize("scale", ["smoke", "cpu", "full"])
def test_every_scale_of_the_repository_is_good(scale):
    data = {"cifar10": {"data.name": "digits"}, "cifar100": {"data.name": "digits"}}
    found = paper.read(scale, data={**data, "speech_commands": {"data.name": "digits"}})
    assert {"fedavg", "fedcode", "skip", "fedzip", "weight_clustering"} <= set(found.methods)
    quirks = {name for name, one in found.methods.items() if one.quirk}
    assert len(quirks) == (2 if scale == "smoke" else 3)
    assert set(found.kinds.values()) == {"IID", "non-IID"}
    each = paper.configs(found, next(iter(found.tasks)))
    methods = len(found.methods) - len(quirks)
    places = methods * len(found.partitions) + len(quirks) * len(found.quirk_partitions)
    assert len(each) == places * found.seeds


def test_the_published_figures_are_those_of_the_abstracts():
    figures = [(one.data, one.reduction, one.loss) for one in paper.read("smoke").published]
    assert figures == [("IID", 12.2, 1.3), ("non-IID", 12.7, 2.0), ("pooled", 12.4, 1.65)]


def test_the_papers_count_is_what_the_page_says_of_the_defaults():
    """Of d weights over 100 rounds at f1 5, f2 2, start 2: 22 messages of weights down, 51 up."""
    rounds, d = 100, 2_332_067
    for K, said in ((64, 14.6), (128, 12.5)):
        bits = math.ceil(math.log2(K))
        sent = (22 + 51) * d * bits + 2 * rounds * 32 * K
        assert round(64 * rounds * d / sent, 1) == said
        assert any(
            f"{said} " in text or f"{said}." in text for text in paper.read("smoke").explained
        )


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A folder of experiments, what the command wrote, and its exit code."""
    folder = folder_with(tmp_path_factory.mktemp("paper"))
    out = folder / "out"
    words = ["--scale", "tiny", "--folder", str(folder), "--out", str(out), "--quiet"]
    return folder, out, main(["reproduce", *words])


def test_the_command_writes_the_page_and_a_report_of_each_task(reproduced):
    _, out, code = reproduced
    assert code == 0
    page = (out / "report.md").read_text()
    assert "12.2x" in page
    assert "fedcode reproduce --scale tiny" in page
    for heading in ("Beside the published figures", "digits", "Are they told apart?"):
        assert f"## {heading}\n" in page
    assert page.count("| digits | IID | server one round later |") == 1
    assert "Dirichlet 0.3 | server one round later" not in page
    assert len(list((out / "digits" / "runs").iterdir())) == 14


def test_each_partition_has_a_report_of_its_methods_by_name(reproduced):
    _, out, _ = reproduced
    page = (out / "report.md").read_text()
    for place in ("digits/iid", "digits/dirichlet-0.3"):
        assert f"]({place}/report.md)" in page
        assert f"]({place}/frontier.png)" in page
        assert (out / place / "frontier.png").is_file()
    own = (out / "digits" / "iid" / "report.md").read_text()
    rows = [line.split("`")[1] for line in own.splitlines() if line.startswith("| `")]
    assert set(rows) == {"fedavg", "fedcode", "skip"}
    assert "not compared" not in own


def test_what_is_finished_is_not_run_again(reproduced, monkeypatch):
    folder, out, _ = reproduced
    summaries = {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")}
    before = (out / "report.md").read_text()
    words = ["--scale", "tiny", "--folder", str(folder), "--out", str(out), "--quiet"]
    assert main(["reproduce", *words]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")} == summaries
    assert (out / "report.md").read_text() == before


def test_the_plan_is_of_what_is_left_and_measures_once(reproduced, tmp_path):
    folder, out, _ = reproduced
    tiny = paper.read("tiny", folder)
    calls = []

    def measure(config, repeats):
        calls.append(config)
        return {"figures": {"median_seconds": {"round": 0.5}}, "compile_seconds": 7.0}

    (nothing_yet,) = paper.expected(tiny, tmp_path / "new", measure)
    assert (nothing_yet.experiments, nothing_yet.left) == (14, 14)
    assert nothing_yet.seconds == pytest.approx(14 * 3 * 0.5 + 4 * 7)
    paper.expected(tiny, tmp_path / "new", measure)
    assert len(calls) == 1
    (all_done,) = paper.expected(tiny, out, measure)
    assert (all_done.left, all_done.seconds) == (0, 0)
    assert calls[0].algorithm.name == "fedavg"


def run_of(accuracy, reduction=10.0, status="completed"):
    records = [{"test_accuracy": accuracy, "deployed_accuracy": accuracy - 0.01}] * 3
    figures = {"reduction_vs_fedavg": reduction, "reduction_formula": 2 * reduction}
    return SweepRun({}, None, records, {"status": status, **figures})


@pytest.fixture
def made_up(tmp_path):
    """Experiments, and runs with chosen figures: FedCode is 2, 3 points below FedAvg."""
    tiny = paper.read("tiny", folder_with(tmp_path))
    runs = {}
    for partition, below in (("IID", (0.02, 0.03)), ("Dirichlet 0.3", (0.05, 0.05))):
        for seed in range(2):
            level = 0.9 + 0.01 * seed
            runs["fedavg", partition, seed] = run_of(level, 1.0)
            for method in ("fedcode", "skip", "server one round later"):
                runs[method, partition, seed] = run_of(level - below[seed], 12.0)
    return tiny, runs


def test_differences_are_taken_seed_by_seed(made_up):
    tiny, runs = made_up
    row = comparing.row(tiny, runs, "fedcode", "IID")
    assert row.less[0].mean == pytest.approx(-2.5)
    assert row.less[0].half_width == pytest.approx(
        12.706 * statistics.stdev([2, 3]) / math.sqrt(2), rel=1e-4
    )
    assert row.accuracy[1].mean == pytest.approx(88 - 1)
    assert (row.reduction.mean, row.formula.mean) == (12.0, 24.0)
    quirk = comparing.row(tiny, runs, "server one round later", "IID")
    assert quirk.less[0].mean == pytest.approx(0)


def test_what_stands_beside_a_published_figure_is_of_that_kind(made_up):
    tiny, runs = made_up
    kinds = {
        data: paper.overall(tiny, {"digits": runs}, "fedcode", data)
        for data in ("IID", "non-IID", "pooled")
    }
    for model in range(2):
        losses = {data: found.below[model].mean for data, found in kinds.items()}
        assert losses == pytest.approx({"IID": 2.5, "non-IID": 5.0, "pooled": 3.75})
    widths = [found.below[0].half_width for found in kinds.values()]
    assert widths == [pytest.approx(6.35, abs=0.01), 0, None]
    assert [found.places for found in kinds.values()] == [1, 1, 2]
    elsewhere = dict.fromkeys(runs, run_of(0.1))
    both = {"digits": runs, "further": elsewhere}
    assert paper.overall(tiny, both, "fedcode", "IID").below[0].mean == pytest.approx(2.5)
    only_iid = dataclasses.replace(tiny, kinds={"IID": "IID"})
    assert paper.overall(only_iid, {"digits": runs}, "fedcode", "non-IID") is None


def test_runs_that_did_not_complete_are_told_and_count_nowhere(made_up):
    tiny, runs = made_up
    runs["fedcode", "IID", 1] = run_of(0.1, status="diverged")
    row = comparing.row(tiny, runs, "fedcode", "IID")
    assert (row.less[0].mean, row.less[0].n, row.failed) == (pytest.approx(-2), 1, 1)
    page = paper.page(tiny, {"digits": runs}, [], "a command", "a device")
    assert "- fedcode, IID, seed 1: diverged" in page


def test_told_apart_or_not_is_said_of_each_pair(made_up):
    tiny, runs = made_up
    page = paper.page(tiny, {"digits": runs}, [], "a command", "a device")
    pairs = [line for line in page.splitlines() if " less `" in line and "digits" in line]
    assert len(pairs) == 6
    assert "`fedavg` less `fedcode` | +2.50 ± 6.35 | not told apart |" in pairs[0]


BAD = {
    "no such scale": (["--scale", "tyni"], "Did you mean 'tiny'?"),
    "no folder": (["--scale", "tiny", "--folder", "nowhere"], "holds no methods.yaml"),
    "no file": (["--scale", "tiny", "--data", "cifar10=nothing.npz"], "give NAME=FILE"),
    "no option": (["--skale", "tiny"], "scale"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_told_before_anything_runs(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, said = BAD[name]
    folder = folder_with(tmp_path)
    given = words if "--folder" in words else [*words, "--folder", str(folder)]
    assert main(["reproduce", *given, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ["fedcode"]}, "must begin with fedavg"),
        ({"methods": ["fedavg", "fedcod"]}, "Did you mean 'fedcode'?"),
        ({"quirks": ["repeated"]}, "repeated draws"),
        ({"more": 1}, "look at more"),
        ({"tasks": {"digits": {"model.nam": "mlp"}}}, "model.nam"),
        ({"partitions": ["Dirichlet 3"]}, "Dirichlet 0.3"),
        ({"headline": ["digit"]}, "Did you mean 'digits'?"),
        ({"headline": []}, r"headline: \[\] cannot be used; it must be a list"),
        ({"seeds": "two"}, "seeds: 'two' cannot be used; it must be a whole number of at least 1"),
        ({"seeds": 0}, "seeds: 0 cannot be used"),
        ({"seeds": True}, "seeds: True cannot be used"),
        ({"tasks": ["digits"]}, "tasks: .* it must be a mapping"),
        ({"tasks": {"digits": "mlp"}}, "it must be a mapping of names to mappings"),
        ({"methods": [["fedavg"]]}, "methods: .* it must be a list of texts"),
        ({"settings": None}, "settings: None cannot be used"),
        ({"settings": {1: 2}}, "settings: .* a mapping whose names are texts"),
        ({"methods": ["fedavg", "fedcode", "fedcode"]}, "a list without repetitions"),
        ({"quirk_partitions": ["Dirichlet 2.0"]}, "quirk_partitions"),
    ],
)
def test_a_scale_that_is_wrong_is_told(changes, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        paper.read("tiny", folder_with(tmp_path, **changes))


def test_quirks_may_be_left_out(tmp_path):
    found = paper.read("tiny", folder_with(tmp_path, quirks=[], quirk_partitions=[]))
    assert len(paper.configs(found, "digits")) == 3 * 2 * 2
    without = paper.read("tiny", folder_with(tmp_path, quirk_partitions=[]))
    assert len(paper.configs(without, "digits")) == 3 * 2 * 2


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("published", [{}], r"published: \{\} cannot be used"),
        ("published", [1], "published: 1 cannot be used"),
        (
            "published",
            [{"source": "a", "data": "IID", "reduction": "q", "loss": None}],
            "the last two numbers",
        ),
        ("partitions", {"IID": {"kind": "IID", "settings": None}}, "partitions: IID: .*settings"),
        ("quirks", {"server one round later": {"text": "a"}}, "quirks: server one round later"),
    ],
)
def test_methods_that_are_wrong_are_told(part, value, said, tmp_path):
    folder = folder_with(tmp_path, partitions=["IID"])
    methods = yaml.safe_load((folder / "methods.yaml").read_text())
    (folder / "methods.yaml").write_text(yaml.safe_dump({**methods, part: value}))
    with pytest.raises(ConfigError, match=said):
        paper.read("tiny", folder)
