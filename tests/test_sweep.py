"""Sweeps, through their public doors."""

import csv
import json

import pyarrow.parquet
import pytest
from tiny_sweep import Counting

import fedcode_jax
from fedcode_jax import cli
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment import SweepObserver, group_run
from fedcode_jax.results.report import find

TINY = {
    "rounds": 4,
    "eval_every": 2,
    "data.name": "synthetic",
    "data.shape": [6],
    "data.num_classes": 3,
    "data.train_size": 60,
    "data.test_size": 30,
    "model.name": "mlp",
    "partition.num_clients": 3,
    "local.epochs": 1,
    "local.batch_size": 8,
    "algorithm.num_clusters": 4,
}
BASE = replace(ExperimentConfig(), TINY)
MACHINE = ("wall_seconds", "padding_waste")  # padding of a group is to its largest client


def figures(records):
    return [{k: v for k, v in record.items() if k not in MACHINE} for record in records]


def alone(**changes):
    return fedcode_jax.run(replace(BASE, {k.replace("__", "."): v for k, v in changes.items()}))


@pytest.mark.parametrize(
    "axes",
    [
        {("seed", "schedule.client_period"): [(0, 1), (1, 3)]},
        {
            "schedule": [
                {"name": "periodic"},
                {"name": "warmup"},
                {"name": "late"},
                {"name": "step_size"},
                {"name": "drift", "threshold": 1e-3},
                {"name": "budget", "budget_mb": 0.02},
            ]
        },
        # Ragged clients, so that experiments of a group are padded to different sizes.
        {
            ("partition.name", "partition.alpha", "local.learning_rate"): [
                ("dirichlet", 0.3, 1e-3),
                ("dirichlet", 5.0, 1e-2),
            ],
        },
        {
            ("network.name", "network.dropout", "network.deadline"): [
                ("mobile", 0.0, None),
                ("flash", 0.3, 0.2),
            ],
        },
        {
            ("algorithm", "partition.name", "partition.alpha"): [
                ({"name": "fedper"}, "dirichlet", 0.3),
                ({"name": "fedper"}, "dirichlet", 5.0),
            ],
        },
    ],
    ids=["seeds", "schedules", "partitions", "networks", "kept"],
)
def test_each_experiment_is_the_single_run(axes):
    result = fedcode_jax.sweep(BASE, axes)
    for run in result.runs:
        single = fedcode_jax.run(replace(BASE, run.point))
        assert run.config == single.config
        # The same program on one device: equal in every digit.
        assert figures(run.records) == figures(single.records)
        for name in ("status", "period_accuracy", "client_accuracy", "partition_checksum"):
            assert run.summary[name] == single.summary[name]


def test_an_error_strikes_the_experiment_that_it_comes_from(monkeypatch):
    """Also while the devices still work on the one before."""
    starts = []

    class Failing(group_run.Fleet):
        def start(self, members):
            starts.append(len(members))
            if len(starts) == 2:
                raise ConfigError("no room")
            return super().start(members)

    monkeypatch.setattr(group_run, "Fleet", Failing)
    base = replace(BASE, {"execution.devices": 1})
    observer = Counting()
    result = fedcode_jax.sweep(base, {"seed": [0, 1, 2]}, observer=observer)
    assert [run.summary["status"] for run in result.runs] == ["completed", "failed", "completed"]
    assert result.runs[1].summary["error"] == "no room"
    assert len(starts) == 3
    assert observer.done == pytest.approx(3)


def test_settings_that_keep_shapes_share_a_program():
    observer: SweepObserver = Counting()
    axes = {"seed": [0, 1], "algorithm.num_clusters": [2, 4]}
    result = fedcode_jax.sweep(BASE, axes, observer=observer)
    assert (observer.total, observer.before, observer.groups) == (4, 0, 2)
    assert observer.done == pytest.approx(4)
    assert len({run.summary["total_uplink_bytes"] for run in result.runs}) >= 2


def test_a_sweep_goes_on_where_it_was_stopped_and_ends_in_the_same_table(tmp_path):
    axes = {"seed": [0, 1, 2], "schedule.client_period": [1, 2]}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fedcode_jax.sweep(BASE, axes, out=str(whole))
    with pytest.raises(KeyboardInterrupt):
        fedcode_jax.sweep(BASE, axes, out=str(broken), observer=Counting(stop_after=3.3))
    finished = sorted(path.name for path in (broken / "runs").iterdir())
    assert finished == ["0000", "0001", "0002"]
    assert len((broken / "results.csv").read_text().splitlines()) == 1 + 3
    (broken / "runs" / ".0003").mkdir()  # what a kill leaves of a folder in the making
    stamps = {
        name: (broken / "runs" / name / "summary.json").stat().st_mtime_ns for name in finished
    }
    observer = Counting()
    went_on = fedcode_jax.sweep(BASE, axes, out=str(broken), observer=observer)
    assert [run.folder for run in went_on.runs] == sorted((broken / "runs").iterdir())
    assert observer.before == 3
    assert observer.done == pytest.approx(3)
    assert stamps == {
        name: (broken / "runs" / name / "summary.json").stat().st_mtime_ns for name in finished
    }
    assert (broken / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    tables = [pyarrow.parquet.read_table(f / "results.parquet") for f in (whole, broken)]
    assert tables[0].equals(tables[1])
    assert len(find([broken])) == 6  # fedcode report finds them all
    assert not (broken / "runs" / ".0003").exists()


def test_the_table(tmp_path):
    axes = {"seed": [0, 1], "schedule.name": ["periodic", "late"]}
    result = fedcode_jax.sweep(BASE, axes, out=str(tmp_path / "out"))
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["seed"], row["schedule.name"]) for row in rows] == [
        ("0", "0", "periodic"), ("1", "0", "late"), ("2", "1", "periodic"), ("3", "1", "late"),
    ]  # fmt: skip
    for row, run in zip(rows, result.runs, strict=True):
        assert float(row["final_accuracy"]) == run.summary["final_accuracy"]
        assert int(row["total_uplink_bytes"]) == run.summary["total_uplink_bytes"]
        assert float(row["client_accuracy.mean"]) == run.summary["client_accuracy"]["mean"]
    assert pyarrow.parquet.read_table(tmp_path / "out" / "results.parquet").num_rows == 4
    assert [row["schedule.name"] for row in result.table] == ["periodic", "late"] * 2


def test_divergence_and_failure_are_rows_and_disturb_nobody(tmp_path):
    base = replace(BASE, {"local.optimizer": "sgd", "rounds": 4, "eval_every": 1})
    axes = {
        ("local.learning_rate", "partition.name", "partition.min_size"): [
            (0.1, "iid", 1),
            (1e30, "iid", 1),
            (0.1, "dirichlet", 50),  # impossible: 60 samples for 3 clients
        ]
    }
    result = fedcode_jax.sweep(base, axes, out=str(tmp_path / "out"))
    good, diverged, failed = result.runs
    assert good.summary["status"] == "completed"
    assert figures(good.records) == figures(fedcode_jax.run(replace(base, good.point)).records)
    assert diverged.summary["status"] == "diverged"
    single = fedcode_jax.run(replace(base, diverged.point))
    assert len(diverged.records) == len(single.records) < 4
    assert failed.summary["status"] == "failed"
    assert "min_size" in failed.summary["error"]
    assert [row["status"] for row in result.table] == ["completed", "diverged", "failed"]
    again = fedcode_jax.sweep(base, axes, out=str(tmp_path / "out"))
    assert [run.summary["status"] for run in again.runs] == ["completed", "diverged", "failed"]


def test_a_budget_that_cannot_pay_is_a_row_that_says_so():
    axes = {("schedule.name", "schedule.budget_mb"): [("budget", 0.02), ("budget", 1e-6)]}
    good, poor = fedcode_jax.sweep(BASE, axes).runs
    assert good.summary["status"] == "completed"
    assert "schedule.budget_mb: 1e-06 cannot be used" in poor.summary["error"]


def test_a_table_that_is_not_there_is_a_row_and_disturbs_nobody(tmp_path):
    missing = str(tmp_path / "no.csv")
    axes = {("network.name", "network.table"): [("mobile", None), ("table", missing)]}
    good, lost = fedcode_jax.sweep(BASE, axes).runs
    assert good.summary["status"] == "completed"
    assert lost.summary["status"] == "failed"
    assert missing in lost.summary["error"]


def test_nothing_of_another_is_touched(tmp_path):
    out = tmp_path / "out"
    fedcode_jax.sweep(BASE, {"seed": [0]}, out=str(out))
    before = (out / "results.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"holds another sweep .over other axes"):
        fedcode_jax.sweep(BASE, {"seed": [1]}, out=str(out))
    with pytest.raises(ConfigError, match=r"holds another sweep .rounds is 4 there"):
        fedcode_jax.sweep(replace(BASE, {"rounds": 6}), {"seed": [0]}, out=str(out))
    assert (out / "results.csv").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ConfigError, match="not empty and holds no sweep"):
        fedcode_jax.sweep(BASE, {"seed": [0]}, out=str(tmp_path / "mine"))


def command(*arguments):
    words = []
    for name, value in TINY.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return cli.main(["sweep", *words, *arguments])


def test_the_command(tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        command("--axis", "seed=0,1", "--axis", "schedule.client-period=1,2", "--out", str(out))
        == 0
    )
    shown = capsys.readouterr().out
    assert "4 experiments in" in shown
    assert "schedule.client_period" in shown
    summary = json.loads((out / "runs" / "0003" / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert (
        command("--axis", "seed=0,1", "--axis", "schedule.client-period=1,2", "--out", str(out))
        == 0
    )
    assert "4 of them finished before" in capsys.readouterr().out
    for bad, says in (
        (["--axis", "sead=1"], "Did you mean seed"),
        (["--axis", "seed=1", "--axis", "seed=2"], "given twice"),
        (["--axis", "rounds=0,1"], "rounds: 0 cannot be used"),
        ([], "axis: there is none"),
        (["--axis", "seed=1", "--out", str(tmp_path)], "not empty"),
    ):
        assert command(*bad) == 2
        assert says in capsys.readouterr().err


def test_side_by_side_is_one_after_another(monkeypatch):
    """What a GPU does: experiments of a device under vmap, an idle place among them."""
    base = replace(BASE, {"rounds": 2, "eval_every": 1})
    axes = {("seed", "schedule.client_period"): [(0, 1), (1, 2), (2, 1)]}
    apart = fedcode_jax.sweep(base, axes)
    monkeypatch.setattr(group_run, "_room", lambda *_: (1, 2))
    together = fedcode_jax.sweep(base, axes)
    for one, other in zip(apart.runs, together.runs, strict=True):
        for a, b in zip(one.records, other.records, strict=True):
            assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-3)
            for name in ("exchange", "uplink_bytes", "downlink_bytes", "arrived"):
                assert b[name] == a[name]
            assert b["simulated_seconds"] == pytest.approx(a["simulated_seconds"], rel=1e-5)
