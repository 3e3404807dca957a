"""Runs and sweeps with loggers, and the tables beside their metrics."""

import csv
import json

import logged
import numpy as np
import pytest

import fedcode_jax
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.loggers import numbers
from fedcode_jax.results.report import find

pytest.importorskip("tensorboardX")

TINY = {
    "rounds": 4,
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
BASE = replace(ExperimentConfig(), {**TINY, "log": ["tensorboard"], "evaluate_clients": True})
MACHINE = ("wall_seconds", "padding_waste")


class Noting:
    """A logger that notes what it is told."""

    def __init__(self):
        self.runs = []

    def begin(self, run):
        self.runs.append((run, [], []))

    def round(self, record):
        self.runs[-1][1].append(record)

    def end(self, summary):
        self.runs[-1][2].append(summary)


class Ending:
    """An observer that ends a run in the middle, as an error in it would."""

    def __init__(self, after, error):
        self.after, self.error = after, error

    def started(self, info, rounds):
        pass

    def advanced(self, records):
        if records[-1]["round"] == self.after:
            raise self.error

    def finished(self, summary):
        raise AssertionError


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(path):
    return [{k: v for k, v in row.items() if k not in MACHINE} for row in rows_of(path)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run to its end, and the logger that was told of it."""
    noting, folder = Noting(), tmp_path_factory.mktemp("runs") / "whole"
    return fedcode_jax.run(replace(BASE, {"out": str(folder)}), loggers=[noting]), noting


def test_a_run_is_logged_as_its_folder_has_it(whole):
    result, noting = whole
    ((run, records, summaries),) = noting.runs
    assert records == result.records
    assert summaries == [result.summary]
    assert (run.name, run.group, run.folder, run.done) == ("whole", None, result.folder, 0)
    assert run.settings["algorithm.num_clusters"] == 4
    found = logged.tensorboard(result.folder)
    assert [number for number, _ in found.rounds] == [1, 2, 3, 4]
    for (_, values), record in zip(found.rounds, records, strict=True):
        assert values == pytest.approx(numbers(record), rel=1e-6)
    assert found.settings["algorithm.name"] == "fedcode"
    assert found.closing["final_accuracy"] == pytest.approx(result.summary["final_accuracy"])
    assert found.status == 1
    assert find([result.folder]) == [result.folder]


def test_metrics_are_a_table_too(whole):
    result, _ = whole
    rows = rows_of(result.folder / "metrics.csv")
    lines = (result.folder / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == len(lines) == 4
    for row, line in zip(rows, lines, strict=True):
        record = json.loads(line)
        assert float(row["test_loss"]) == record["test_loss"]
        assert row["exchange.server_sends_weights"] == json.dumps(
            record["exchange"]["server_sends_weights"]
        )
        assert len(row) == len(record) - 1 + len(record["exchange"])


def test_every_client_is_told_of_at_every_evaluation(whole):
    result, _ = whole
    rows = rows_of(result.folder / "clients.csv")
    assert [(row["round"], row["client"]) for row in rows] == [
        (str(number), str(client)) for number in range(1, 5) for client in range(3)
    ]
    assert sum(int(row["samples"]) for row in rows[:3]) == 60
    found = json.loads((result.folder / "evaluation.json").read_text())["client_accuracy"]
    last = rows[-3:]
    assert [float(row["accuracy"]) for row in last] == found["server"]
    assert [float(row["deployed_accuracy"]) for row in last] == found["deployed"]
    # shares of the clients make up the whole test set here, but for rounding of class sizes
    losses = [float(row["loss"]) for row in last]
    assert np.mean(losses) == pytest.approx(result.records[-1]["test_loss"], rel=0.1)
    assert list(rows[0]) == [
        "round", "client", "samples", "accuracy", "loss", "deployed_accuracy", "deployed_loss",
    ]  # fmt: skip


def test_a_run_that_ended_early_goes_on_in_the_same_files(whole, tmp_path):
    """It is interrupted in round 3, fails there again, and goes on: from round 2 each time."""
    result, _ = whole
    noting, folder = Noting(), tmp_path / "part"
    config = replace(BASE, {"out": str(folder), "checkpoint_every": 2})
    with pytest.raises(KeyboardInterrupt):
        fedcode_jax.run(config, observer=Ending(3, KeyboardInterrupt()), loggers=[noting])
    assert noting.runs[0][2] == [
        {"status": "interrupted", "error": "KeyboardInterrupt", "rounds": 3}
    ]
    assert len(rows_of(folder / "metrics.csv")) == 3
    assert len(rows_of(folder / "clients.csv")) == 9
    assert logged.tensorboard(folder).closing["status"] == "interrupted"
    other = replace(config, {"log": []})  # it may be logged elsewhere from start to start
    failing = Ending(3, RuntimeError("lost"))
    with pytest.raises(RuntimeError):
        fedcode_jax.run(other, observer=failing, loggers=[noting], resume=True)
    assert noting.runs[1][2][0]["error"] == "RuntimeError: lost"
    resumed = fedcode_jax.run(config, resume=True, loggers=[noting])
    assert without_time(folder / "metrics.csv") == without_time(result.folder / "metrics.csv")
    assert (folder / "clients.csv").read_bytes() == (result.folder / "clients.csv").read_bytes()
    found = logged.tensorboard(folder)
    assert [number for number, _ in found.rounds] == [1, 2, 3, 4]
    assert found.closing["status"] == "completed"
    run, records, _ = noting.runs[2]
    assert (run.done, run.told) == (2, 3)
    assert records == resumed.records[2:]


def test_the_runs_of_a_sweep_are_runs_of_their_own(tmp_path):
    noting, out = Noting(), tmp_path / "grid"
    axes = {("seed", "partition.min_size"): [(0, 1), (1, 1), (2, 50)]}
    base = replace(BASE, {"partition.name": "dirichlet"})
    result = fedcode_jax.sweep(base, axes, out=str(out), loggers=[noting])
    told = {run.name: (run, records, summaries) for run, records, summaries in noting.runs}
    assert sorted(told) == ["grid/0000", "grid/0001", "grid/0002"]
    for number, one in enumerate(result.runs):
        run, records, (summary,) = told[f"grid/{number:04d}"]
        assert (run.group, run.shared, run.folder) == ("grid", out, out / "runs" / f"{number:04d}")
        assert run.settings["seed"] == number
        assert (records, summary) == (one.records, one.summary)
        found = logged.tensorboard(run.folder)
        assert [step for step, _ in found.rounds] == [record["round"] for record in records]
        assert found.closing["status"] == summary["status"]
    assert result.runs[2].summary["status"] == "failed"
    single = fedcode_jax.run(
        replace(base, {**result.runs[1].point, "out": str(tmp_path / "single")})
    )
    run = told["grid/0001"][0].folder
    assert without_time(run / "metrics.csv") == without_time(single.folder / "metrics.csv")
    assert (run / "clients.csv").read_bytes() == (single.folder / "clients.csv").read_bytes()
    assert len(find([out])) == 3
    # what failed alone is tried again, and told again
    again = fedcode_jax.sweep(replace(base, {"log": []}), axes, out=str(out), loggers=[noting])
    assert [run.name for run, *_ in noting.runs[3:]] == ["grid/0002"]
    assert [one.summary["status"] for one in again.runs] == ["completed", "completed", "failed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "evaluate_clients: true writes clients.csv into the run's folder, and there is none"),
        ({"evaluate_clients": False}, "log: 'tensorboard' needs a folder to write into; set out"),
    ],
)
def test_what_needs_a_folder_says_so_before_anything_runs(changes, message):
    for start in (fedcode_jax.run, lambda config: fedcode_jax.sweep(config, {"seed": [0]})):
        with pytest.raises(ConfigError, match=message):
            start(replace(BASE, {**changes, "data.train_size": 10**9}))


def test_a_logger_that_cannot_begin_leaves_no_folder(tmp_path):
    class Broken(Noting):
        def begin(self, run):
            raise ConnectionError("no server")

    config = replace(BASE, {"out": str(tmp_path / "run"), "log": []})
    with pytest.raises(ConfigError, match="log: 'Broken' could not begin: ConnectionError: no"):
        fedcode_jax.run(config, loggers=[Broken()])
    assert not (tmp_path / "run").exists()
