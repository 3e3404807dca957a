"""Files of others run nothing and lead nowhere else; a folder without room is told first."""

import ast
import json
import os
from pathlib import Path

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import cli
from fedcode_jax.config import ExperimentConfig, from_yaml
from fedcode_jax.config.axes import load_sweep, points
from fedcode_jax.data import prepared
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results.writing import check_writable
from fedcode_jax.simulation import checkpoint
from fedcode_jax.simulation.state import State

HOME = Path(fedcode_jax.__file__).parent
RUNS_CODE = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def dangers(source):
    """What in a program could run what a file holds."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from RUNS_CODE & {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            yield from RUNS_CODE & {(node.module or "").partition(".")[0]}
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if name in ("eval", "exec"):
                yield name
            if name.endswith("np.load") and given.get("allow_pickle") != "False":
                yield name
            if name == "yaml.load" and given.get("Loader") != "Loader":
                yield name
            if name.startswith(("yaml.unsafe", "yaml.full")) or given.get("allow_pickle") == "True":
                yield name


def test_nothing_in_the_package_unpickles_or_evaluates():
    found = {
        str(path.relative_to(HOME)): set(dangers(path.read_text())) for path in HOME.rglob("*.py")
    }
    # What a sweep sends to one's own cluster; it is no file.
    assert found.pop("experiment/cluster.py") == {"cloudpickle"}
    assert not {path: what for path, what in found.items() if what}


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from joblib import load", "eval(text)", "np.load(file)"),
        *("np.load(file, allow_pickle=True)", "yaml.load(text, Loader=yaml.Loader)"),
        *("yaml.unsafe_load(text)", "read_array(stream, allow_pickle=True)"),
    ],
)
def test_what_would_run_code_would_be_found(source):
    assert list(dangers(source))


def test_yaml_makes_no_objects(tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(ConfigError, match="not valid YAML"):
        from_yaml(f"out: !!python/object/apply:pathlib.Path.touch [!!python/name:x {mark}]")
    assert not mark.exists()


def test_a_sweep_cannot_be_led_out_of_its_folder(tmp_path):
    for axes in ({"out": ["../../x"]}, [{"out": "../../x"}]):
        with pytest.raises(ConfigError, match="out is set by the sweep"):
            points(ExperimentConfig(), axes)
    (tmp_path / "sweep.yaml").write_text("axes: {seed: [0], out: [../../x]}")
    config, beside = load_sweep(tmp_path / "sweep.yaml")
    with pytest.raises(ConfigError, match="out is set by the sweep"):
        points(config, beside["axes"])


def test_the_name_of_a_set_leads_to_no_other_folder(tmp_path):
    secret = tmp_path / "secret" / "1.0.0"
    secret.mkdir(parents=True)
    (secret / prepared.INFO).write_text("{}")
    (tmp_path / "sets" / "mnist").mkdir(parents=True)
    assert prepared.find("secret", tmp_path) == secret
    for name in ("../secret", "mnist/../../secret", "mnist/..", str(tmp_path / "secret")):
        assert prepared.find(name, tmp_path / "sets") is None


def test_a_manifest_names_files_of_its_folder_alone(tmp_path):
    state = State(np.int32(1), {"a": np.zeros(2, np.float32)}, {}, np.uint32([0]), None)
    path = checkpoint.save(tmp_path, state)
    found = checkpoint.load(path)
    for name in ("../part_000.safetensors", "/etc/hostname", ".."):
        files = {name: next(iter(found.files.values()))}
        forged = checkpoint.Manifest(1, {}, found.leaves, files)
        (path / checkpoint.MANIFEST).write_bytes(forged.encoded())
        with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
            checkpoint.load(path)


@pytest.fixture
def no_room(tmp_path, monkeypatch):
    """A folder that nothing can be written to, whoever asks; and nothing may be computed."""
    folder = tmp_path / "read_only"
    folder.mkdir()

    def refuse(*_, dir, **__):
        assert Path(dir) == folder
        raise PermissionError(13, os.strerror(13))

    def compute(*_, **__):
        raise AssertionError("something was loaded or computed")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("fedcode_jax.experiment.blueprint.Blueprint.of", compute)
    monkeypatch.setattr("fedcode_jax.experiment.running.build", compute)
    monkeypatch.setattr("fedcode_jax.data.preparing.prepare", compute)
    monkeypatch.setattr("fedcode_jax.results.report.writing.read_run", compute)
    monkeypatch.setattr("fedcode_jax.advice.advise", compute)
    monkeypatch.setattr("fedcode_jax.paper.expected", compute)
    return folder / "deeper" / "out"


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("run --out", "out"),
        ("export run --out", "out"),
        ("report run --out", "out"),
        ("advise --out", "out"),
        ("reproduce --scale smoke --out", "out"),
        ("data prepare mnist --dir", "dir"),
    ],
)
def test_a_folder_that_cannot_be_written_is_told_at_once(words, setting, no_room, capsys):
    assert cli.main([*words.split(), str(no_room)]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"fedcode: error: {setting}: {str(no_room)!r} cannot be written (Permission denied); "
        f"choose another --{setting}\n"
    )


def test_a_sweep_says_so_too(tmp_path, capsys):
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "out")
    assert cli.main(["sweep", "--axis", "seed=0,1", "--rounds", "1", "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fedcode: error: out: {out!r} cannot be ")
    assert error.count("\n") == 1


def test_to_look_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^out: '.*/x' cannot be written \(.*/file is a file\)"):
        check_writable(tmp_path / "file" / "x")


def test_a_table_of_figures_that_is_none_is_told(tmp_path):
    """Valid JSON that is no figures: the kind that a reader trusts."""
    from fedcode_jax.results.run_files import read

    lines = [{"round": 1, "test_accuracy": 0.5}, {"round": 2, "test_accuracy": 0.6}]
    (tmp_path / "config.yaml").write_text("seed: 0\n")

    def write(*records, summary=None):
        text = "".join(json.dumps(each) + "\n" for each in records)
        (tmp_path / "metrics.jsonl").write_text(text)
        (tmp_path / "summary.json").write_text(json.dumps(summary or {"status": "completed"}))

    write(*lines)
    assert len(read(tmp_path).records) == 2
    for records, says in (
        ([lines[0] | {"round": "1"}], "line 1: is damaged: it is of round '1'"),
        ([lines[0], lines[0]], "line 2: is damaged: it is of round 1 after 1"),
        ([lines[1], lines[0]], "line 2: is damaged: it is of round 1 after 2"),
        ([lines[0] | {"test_accuracy": [1]}], r"line 1: is damaged: test_accuracy is '\[1\]'"),
        ([lines[0] | {"uplink_bytes": "9"}], "line 1: is damaged: uplink_bytes is '9'"),
    ):
        write(*records)
        with pytest.raises(CheckpointError, match=says):
            read(tmp_path)
    for summary in ({"status": 3}, {"final_accuracy": {}}, {"client_accuracy": [0.5]}):
        write(*lines, summary=summary)
        with pytest.raises(CheckpointError, match=r"summary\.json: is damaged: "):
            read(tmp_path)
