"""Experiments of a sweep that were stopped go on at their checkpoints, to the same bits."""

import jax
import numpy as np
import pytest
from tiny_sweep import BASE, Counting, figures

import fedcode_jax
from fedcode_jax.config import replace
from fedcode_jax.experiment import group_run, trained
from fedcode_jax.experiment.crews import pieces
from fedcode_jax.simulation import checkpoint

SAVED = replace(
    BASE, {"rounds": 6, "eval_every": 3, "checkpoint_every": 3, "evaluate_clients": True}
)


@pytest.mark.parametrize("start", [0, 2, 5, 12])
@pytest.mark.parametrize("eval_every", [1, 4, 5, 20])
@pytest.mark.parametrize("stops", [(), (3,), (4,), (3, 10)])
def test_pieces_end_where_they_must(start, eval_every, stops):
    """Against a plain loop over the rounds."""
    done, evaluated, ends = start, [], {start}
    for piece in pieces(start, 12, eval_every, stops):
        for _ in range(piece.evaluations):
            done += piece.rounds
            evaluated += [done] if piece.counts else []
        ends.add(done)
    expected = [r for r in range(start + 1, 13) if r % eval_every == 0 or r == 12]
    assert evaluated == (expected or [12])
    assert done == 12
    assert all(r in ends for r in range(start + 1, 12) if any(r % stop == 0 for stop in stops))


def states(out):
    """The last checkpoint of each experiment, as numbers."""
    found = []
    for folder in sorted((out / "runs").glob("[0-9]*")):
        path, manifest = checkpoint.latest(folder / "checkpoints")
        assert manifest.round == 6
        found.append((path / "part_000.safetensors").read_bytes())
    return found


def check_going_on(tmp_path, stop_after, rounds):
    """Stops a sweep, starts it again; the experiment that was on its way goes on at a round."""
    axes, observer = {"seed": [0, 1]}, Counting()
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = fedcode_jax.sweep(SAVED, axes, out=str(whole))
    with pytest.raises(KeyboardInterrupt):
        fedcode_jax.sweep(SAVED, axes, out=str(broken), observer=Counting(stop_after))
    begun = {path.name: max(checkpoint.rounds(path / "checkpoints")) for path in hidden(broken)}
    assert begun == rounds
    found = fedcode_jax.sweep(SAVED, axes, out=str(broken), observer=observer)
    assert observer.done == pytest.approx(observer.total - observer.before)
    for one, other in zip(found.runs, expected.runs, strict=True):
        assert figures(one.records) == figures(other.records)
        tables = [(run.folder / "clients.csv").read_text() for run in (one, other)]
        assert tables[0] == tables[1]
        assert len(tables[0].splitlines()) == 1 + 2 * 3
    assert states(broken) == states(whole)
    for name in ("results.csv", "results.parquet"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert not hidden(broken)
    return broken


def hidden(out):
    return sorted((out / "runs").glob(".*"))


def test_one_that_was_stopped_goes_on(tmp_path, monkeypatch):
    starts, laid = [], group_run.Fleet.laid

    def noting(fleet, states):
        starts.append([int(state.round) for state in states])
        return laid(fleet, states)

    monkeypatch.setattr(group_run.Fleet, "laid", noting)
    out = check_going_on(tmp_path, 1.4, {".0001": 3})
    assert starts == [[3]]
    model = trained.trained(out / "runs" / "0001").server  # as of any run with checkpoints
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model))


@pytest.mark.slow
def test_those_side_by_side_are_saved_each_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(group_run, "_room", lambda *_: (1, 2))
    check_going_on(tmp_path, 0.9, {".0000": 3, ".0001": 3})


def test_a_checkpoint_that_is_not_of_this_is_told_of_and_left(tmp_path, caplog):
    axes, out = {"seed": [0]}, tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fedcode_jax.sweep(SAVED, axes, out=str(out), observer=Counting(0.4))
    record = out / "runs" / ".0000" / "metrics.jsonl"
    record.write_text(record.read_text().replace('"round": 2,', '"round": 7,'))
    (run,) = fedcode_jax.sweep(SAVED, axes, out=str(out)).runs
    assert "experiment 0 begins anew" in caplog.text
    assert [each["round"] for each in run.records] == [1, 2, 3, 4, 5, 6]


def test_one_that_was_stopped_as_it_ended_is_evaluated_alone(tmp_path, monkeypatch):
    axes, out, ended = {"seed": [0]}, tmp_path / "out", []
    end = group_run._Setting.ended

    def killed(*made):
        ended.append(end(*made))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(group_run._Setting, "ended", killed)
        with pytest.raises(KeyboardInterrupt):
            fedcode_jax.sweep(SAVED, axes, out=str(out))
    assert max(checkpoint.rounds(out / "runs" / ".0000" / "checkpoints")) == 6
    (run,) = fedcode_jax.sweep(SAVED, axes, out=str(out)).runs
    assert run.records == ended[0].records
    assert run.summary | {"compile_seconds": 0} == ended[0].summary | {"compile_seconds": 0}


def test_without_checkpoints_none_are_written(tmp_path):
    fedcode_jax.sweep(BASE, {"seed": [0]}, out=str(tmp_path / "out"))
    assert not list(tmp_path.rglob("checkpoints"))
