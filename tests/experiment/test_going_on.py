"""Runs that go on: saved when asked, the same result, and refused where it would be another."""

import json
import shutil
import signal
import sys

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import results
from fedcode_jax.cli import main
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.simulation import checkpoint

TINY = {
    "rounds": 5,
    "eval_every": 4,
    "model.name": "mlp",
    "model.hidden": [4],
    "local.epochs": 1,
    "partition.num_clients": 3,
    "algorithm.num_clusters": 4,
}


def run(out, changes=None, **more):
    settings = {**TINY, "out": str(out), **(changes or {})}
    return fedcode_jax.run(replace(ExperimentConfig(), settings), **more)


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_time(records):
    return [{name: v for name, v in each.items() if name != "wall_seconds"} for each in records]


def same(one, other):
    assert without_time(one.records) == without_time(other.records)
    flat = lambda run: np.concatenate([x.ravel() for x in run.weights["params"]["head"].values()])  # noqa: E731
    np.testing.assert_array_equal(flat(one), flat(other))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with every checkpoint that it could have."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return run(out, {"checkpoint_every": 1, "checkpoint_keep": None})


@pytest.fixture
def part(whole, tmp_path):
    """The folder of the same run, as a kill in round 4 leaves it."""
    folder = tmp_path / "part"
    shutil.copytree(whole.folder, folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "round_000004")
    shutil.rmtree(folder / "checkpoints" / "round_000005")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:3]) + lines[3][:40])
    return folder


def test_checkpoints_do_not_wait_for_evaluations(whole, tmp_path):
    assert list(checkpoint.rounds(whole.folder / "checkpoints")) == [1, 2, 3, 4, 5]
    evaluated = [each["round"] for each in whole.records if each["test_accuracy"] is not None]
    assert evaluated == [4, 5]
    plain = run(tmp_path / "plain")
    assert list(checkpoint.rounds(plain.folder / "checkpoints")) == [5]
    same(plain, whole)


def test_the_last_two_are_kept_and_seconds_count_too(tmp_path):
    found = run(tmp_path / "a", {"checkpoint_every": 2})
    assert list(checkpoint.rounds(found.folder / "checkpoints")) == [4, 5]
    found = run(tmp_path / "b", {"checkpoint_seconds": 1e-6, "checkpoint_keep": None})
    assert list(checkpoint.rounds(found.folder / "checkpoints")) == [4, 5]
    found = run(tmp_path / "c", {"checkpoint_seconds": 1e6, "checkpoint_keep": None})
    assert list(checkpoint.rounds(found.folder / "checkpoints")) == [5]


def test_a_killed_run_goes_on_by_its_folder_alone(whole, part, capsys):
    assert main(["run", "--resume", str(part), "--quiet"]) == 0
    again = results.read(part)
    assert without_time(again.records) == without_time(whole.records)
    assert again.summary["status"] == "completed"


def test_a_damaged_checkpoint_is_passed_over(whole, part, caplog):
    manifest = part / "checkpoints" / "round_000003" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-9])
    found = run(part, {"checkpoint_every": 1, "checkpoint_keep": None}, resume=True)
    same(found, whole)
    assert "going on from round_000002" in caplog.text
    assert list(checkpoint.rounds(part / "checkpoints")) == [1, 2, 3, 4, 5]
    assert checkpoint.load(manifest.parent).round == 3


def test_a_finished_run_is_left_as_it_is(whole, capsys):
    before = content(whole.folder)
    assert main(["run", "--resume", str(whole.folder), "--quiet"]) == 0
    assert content(whole.folder) == before
    shown = capsys.readouterr().out
    assert "completed" in shown or f"{100 * whole.summary['final_accuracy']:.2f}" in shown
    again = run(whole.folder, {"checkpoint_every": 1, "checkpoint_keep": None}, resume=True)
    same(again, whole)
    assert again.summary == json.loads(json.dumps(whole.summary))
    assert content(whole.folder) == before


def test_a_run_that_was_killed_as_it_closed_is_closed(whole, tmp_path):
    folder = tmp_path / "part"
    shutil.copytree(whole.folder, folder)
    expected = json.loads((folder / "summary.json").read_text())
    evaluation = json.loads((folder / "evaluation.json").read_text())
    (folder / "summary.json").unlink()
    (folder / "evaluation.json").unlink()
    found = run(folder, {"checkpoint_every": 1, "checkpoint_keep": None}, resume=True)
    same(found, whole)
    machine = {"compile_seconds", "compilations", "wall_seconds"}
    again = json.loads((folder / "summary.json").read_text())
    assert {k: v for k, v in again.items() if k not in machine} == {
        k: v for k, v in expected.items() if k not in machine
    }
    assert json.loads((folder / "evaluation.json").read_text()) == evaluation


def test_a_finished_run_whose_last_checkpoint_is_lost_does_its_last_rounds_again(whole, tmp_path):
    folder = tmp_path / "part"
    shutil.copytree(whole.folder, folder)
    shutil.rmtree(folder / "checkpoints" / "round_000005")
    found = run(folder, {"checkpoint_every": 1, "checkpoint_keep": None}, resume=True)
    same(found, whole)
    assert max(checkpoint.rounds(folder / "checkpoints")) == 5


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("summary.json", "[1]", "summary.json: is damaged"),
        ("clients.csv", "garbage\n1,2\n", "clients.csv: is damaged"),
        ("clients.csv", "round,client\nx,1\n", "clients.csv: is damaged"),
        ("config.yaml", "seed: [", "config.yaml|YAML|line"),
        ("metrics.jsonl", "[1]\n", "is not a record of a round"),
    ],
)
def test_a_damaged_file_is_told_and_nothing_is_lost(part, name, text, said):
    (part / name).write_text(text)
    before = content(part)
    with pytest.raises((CheckpointError, ConfigError), match=said):
        run(part, {"checkpoint_every": 1}, resume=True)
    assert content(part) == before


def test_what_is_no_checkpoint_is_left_alone(whole, part):
    kept = part / "checkpoints"
    shutil.copytree(kept / "round_000002", kept / "round_000002_backup")
    (kept / "round_000009").write_text("mine")
    same(run(part, {"checkpoint_every": 1, "checkpoint_keep": None}, resume=True), whole)
    assert (kept / "round_000002_backup").is_dir()
    assert (kept / "round_000009").read_text() == "mine"


class Refusing:
    """A logger that cannot begin."""

    def begin(self, run):
        raise RuntimeError("no")

    round = end = begin


def test_a_logger_that_cannot_begin_lets_go_of_the_folder(whole, part):
    more = {"checkpoint_every": 1, "checkpoint_keep": None}
    with pytest.raises(ConfigError, match="could not begin"):
        run(part, more, resume=True, loggers=[Refusing()])
    same(run(part, more, resume=True), whole)


def test_fewer_rounds_than_are_done_are_refused(whole):
    before = content(whole.folder)
    with pytest.raises(ConfigError, match="rounds: 2 is less than the 5 that the run in"):
        run(whole.folder, {"rounds": 2}, resume=True)
    assert content(whole.folder) == before


def test_a_diverged_run_is_not_gone_on_with_and_keeps_its_last_good_state(tmp_path):
    out = tmp_path / "run"
    wild = {"local.optimizer": "sgd", "local.learning_rate": 1e30, "checkpoint_every": 1}
    found = run(out, wild)
    assert found.summary["status"] == "diverged"
    for path in checkpoint.rounds(out / "checkpoints").values():
        for file in path.glob("*.safetensors"):
            assert file.stat().st_size
    assert len(found.records) not in checkpoint.rounds(out / "checkpoints")
    before = content(out)
    with pytest.raises(ConfigError, match=r"diverged in round \d+, so that there is nothing"):
        run(out, wild, resume=True)
    assert content(out) == before


def test_other_data_are_refused(tmp_path):
    rng, file = np.random.default_rng(0), tmp_path / "mine.npz"
    arrays = {
        "train_x": rng.normal(size=(60, 4, 4, 1)).astype(np.float32),
        "train_y": np.arange(60) % 3,
        "test_x": rng.normal(size=(30, 4, 4, 1)).astype(np.float32),
        "test_y": np.arange(30) % 3,
    }
    np.savez(file, **arrays)
    own = {"data.name": "npz", "data.path": [str(file)], "rounds": 2}
    run(tmp_path / "run", own)
    before = content(tmp_path / "run")
    np.savez(file, **{**arrays, "train_x": arrays["train_x"] + 1})
    with pytest.raises(CheckpointError, match=r"of another run: data was '\w+' and is '\w+'"):
        run(tmp_path / "run", {**own, "rounds": 3}, resume=True)
    assert content(tmp_path / "run") == before


def test_another_version_is_refused(part, monkeypatch):
    found = results.installed_versions

    def newer(device):
        return {**found(device), "jax": "99.0"}

    monkeypatch.setattr(results, "installed_versions", newer)
    before = content(part)
    with pytest.raises(CheckpointError, match=r"versions.jax was '.*' and is '99.0'"):
        run(part, resume=True)
    assert content(part) == before


def test_records_that_were_changed_are_refused(part):
    text = (part / "metrics.jsonl").read_text()
    (part / "metrics.jsonl").write_text(text.replace('"uplink_bytes": ', '"uplink_bytes": 1', 1))
    with pytest.raises(CheckpointError, match=r"metrics.jsonl was"):
        run(part, resume=True)


def test_every_setting_that_differs_is_told(part):
    with pytest.raises(ConfigError) as told:
        run(part, {"seed": 4, "algorithm.num_clusters": 8}, resume=True)
    assert "seed: 4, there 0" in str(told.value)
    assert "algorithm.num_clusters: 8, there 4" in str(told.value)
    assert f"fedcode run --resume {part}" in str(told.value)


def test_more_rounds_are_refused_where_they_would_change_what_was(tmp_path):
    falling = {"local.decay": "cosine", "rounds": 2}
    run(tmp_path / "run", falling)
    with pytest.raises(ConfigError, match=r"rounds: 3, there 2.*depends on how many rounds"):
        run(tmp_path / "run", {**falling, "rounds": 3}, resume=True)


def test_a_disk_that_is_full_at_the_end_loses_the_checkpoint_alone(tmp_path, monkeypatch):
    def full(*arguments, **more):
        raise CheckpointError("checkpoint: cannot be written (No space left on device)")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(CheckpointError, match="No space left"):
        run(tmp_path / "run")
    found = results.read(tmp_path / "run")
    assert found.summary["status"] == "completed"
    assert len(found.records) == 5


class Sending:
    """Sends a signal to this process after the first evaluation."""

    def __init__(self, number):
        self.number = number

    def started(self, info, rounds):
        pass

    def advanced(self, records):
        signal.raise_signal(self.number)

    def finished(self, summary):
        pass


def test_a_run_that_is_asked_to_end_keeps_all_and_goes_on(whole, tmp_path):
    found = run(tmp_path / "run", observer=Sending(signal.SIGTERM))
    assert (found.summary["status"], found.summary["signal"]) == ("interrupted", "SIGTERM")
    assert list(checkpoint.rounds(found.folder / "checkpoints")) == [4]
    same(run(found.folder, resume=True), whole)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A run with an optimiser of one's own and figures of clients, as a kill leaves it."""
    (tmp_path / "an_optimizer.py").write_text("import optax\nmine = optax.sgd\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "an_optimizer", raising=False)
    settings = {
        "local.optimizer": "an_optimizer:mine",
        "evaluate_clients": True,
        "eval_every": 1,
        "rounds": 3,
        "checkpoint_every": 1,
    }
    folder = run(tmp_path / "run", settings).folder
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "round_000003")
    yield folder, settings
    sys.modules.pop("an_optimizer", None)


def test_a_changed_module_and_lost_clients_are_told(own, caplog):
    folder, settings = own
    (folder / "clients.csv").unlink()
    module = folder.parent / "an_optimizer.py"
    before = module.read_text()
    module.write_text(before + "mine = optax.adam\n")
    with pytest.raises(
        CheckpointError, match=r"modules\.an_optimizer was '\w{64}' and is '\w{64}'"
    ):
        run(folder, settings, resume=True)
    module.write_text(before)
    assert run(folder, settings, resume=True).summary["status"] == "completed"
    assert "clients.csv: lacks the clients of 2 of the rounds that are done, from 1 on" in (
        caplog.text
    )
    rows = (folder / "clients.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["round", "3", "3", "3"]
