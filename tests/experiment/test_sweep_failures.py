"""Experiments of a sweep that fail: rows that are run again, and disturb nobody."""

import jax
import pytest
from tiny_sweep import BASE, Counting, figures

import fedcode_jax
from fedcode_jax.config import replace
from fedcode_jax.experiment import crews, group_run

AXES = {"local.batch_size": [8, 30], "seed": [0, 1]}


def statuses(result):
    return [run.summary["status"] for run in result.runs]


def test_a_crash_fails_its_group_and_the_next_start_runs_it_again(tmp_path, monkeypatch):
    advance = group_run.Fleet.advance

    def crash(fleet, *rest):
        if fleet.program.training.batch_size == 8:
            raise RuntimeError("boom\nand more")
        return advance(fleet, *rest)

    out, observer = tmp_path / "out", Counting()
    with monkeypatch.context() as patched:
        patched.setattr(group_run.Fleet, "advance", crash)
        result = fedcode_jax.sweep(BASE, AXES, out=str(out), observer=observer)
    assert statuses(result) == ["failed", "failed", "completed", "completed"]
    assert result.runs[0].summary["error"] == "RuntimeError: boom"
    assert observer.done == pytest.approx(4)
    kept = (out / "runs" / "0002" / "summary.json").stat().st_mtime_ns
    again = fedcode_jax.sweep(BASE, AXES, out=str(out), observer=observer)
    assert observer.before == 2
    assert statuses(again) == ["completed"] * 4
    assert (out / "runs" / "0002" / "summary.json").stat().st_mtime_ns == kept
    assert "failed" not in (out / "results.csv").read_text()


def test_what_has_no_room_side_by_side_is_run_one_by_one(monkeypatch):
    advance, tried = group_run.Fleet.advance, []

    def crowded(fleet, *rest):
        tried.append(fleet.abreast)
        if fleet.abreast > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return advance(fleet, *rest)

    alone = fedcode_jax.sweep(BASE, {"seed": [0, 1]})
    monkeypatch.setattr(group_run.Fleet, "advance", crowded)
    monkeypatch.setattr(group_run, "_room", lambda *_: (1, 4))
    result = fedcode_jax.sweep(BASE, {"seed": [0, 1]})
    assert tried[:3] == [4, 2, 1]
    for one, other in zip(result.runs, alone.runs, strict=True):
        assert figures(one.records) == figures(other.records)


def test_what_has_no_room_alone_has_failed_and_the_others_go_on(monkeypatch):
    calls = []

    def crews_of(fleet, experiments, *rest):
        calls.append(len(experiments))
        if experiments[0].config.seed == 1:
            raise MemoryError("no room")
        yield from run_crews(fleet, experiments[:1], *rest)
        yield from crews_of(fleet, experiments[1:], *rest)

    run_crews = crews.run_crews
    monkeypatch.setattr(group_run, "run_crews", crews_of)
    result = fedcode_jax.sweep(replace(BASE, {"rounds": 2}), {"seed": [0, 1, 2]})
    assert statuses(result)[:2] == ["completed", "failed"]
    assert result.runs[1].summary["error"] == "MemoryError: no room"


def test_data_of_ones_own_that_raise_are_rows(tmp_path, monkeypatch):
    (tmp_path / "my_breaking.py").write_text("def part(dataset, seed):\n    return {}[seed]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    axes = {("partition.name", "seed"): [("my_breaking:part", 0)]}
    (run,) = fedcode_jax.sweep(BASE, axes).runs
    assert run.summary["status"] == "failed"
    assert "KeyError" in run.summary["error"]


def test_a_row_of_a_missing_file_is_completed_when_it_is_there(tmp_path):
    table, out = tmp_path / "links.csv", tmp_path / "out"
    axes = {("network.name", "network.table"): [("mobile", None), ("table", str(table))]}
    assert statuses(fedcode_jax.sweep(BASE, axes, out=str(out))) == ["completed", "failed"]
    table.write_text("uplink_mbit,downlink_mbit\n1,2\n3,4\n5,6\n")
    assert statuses(fedcode_jax.sweep(BASE, axes, out=str(out))) == ["completed", "completed"]
