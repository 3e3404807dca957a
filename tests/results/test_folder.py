import json
import math
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.config import ExperimentConfig, from_yaml, load, to_yaml
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.results import RunFolder, installed_versions, read

VERSIONS = {"jax": "0.6.0", "device": "cpu: 2 cores"}


def create(path, **options):
    return RunFolder.create(path, to_yaml(ExperimentConfig(rounds=3)), VERSIONS, **options)


def test_a_run_is_readable_at_every_moment(tmp_path):
    folder = create(tmp_path / "a" / "run")
    assert read(folder.path).records == []
    folder.append([{"round": 1}, {"round": 2}])
    assert read(folder.path).records == [{"round": 1}, {"round": 2}]
    assert read(folder.path).summary is None
    folder.append([{"round": 3}])
    folder.finish({"status": "completed"})
    folder.close()
    files = read(folder.path)
    assert [record["round"] for record in files.records] == [1, 2, 3]
    assert files.summary == {"status": "completed"}
    assert from_yaml(files.config_text) == ExperimentConfig(rounds=3)
    names = {file.name for file in folder.path.iterdir()}
    assert names == {"config.yaml", "metrics.jsonl", "metrics.csv", "summary.json"}


def test_config_repeats_the_run_and_names_the_versions(tmp_path):
    file = create(tmp_path).path / "config.yaml"
    assert load(file) == ExperimentConfig(rounds=3)
    assert "versions:\n  jax: 0.6.0\n  device: 'cpu: 2 cores'\n" in file.read_text()


def test_json_is_strict(tmp_path):
    folder = create(tmp_path)
    record = {
        "round": np.int64(1),
        "test_loss": math.nan,
        "train_loss": np.float32(np.inf),
        "exchange": {"server_sends_weights": np.bool_(True)},
        "on_device": jnp.float32(0.5),
        "list": (1, -math.inf),
    }
    folder.append([record])
    assert (tmp_path / "metrics.csv").read_text() == (
        "round,test_loss,train_loss,exchange.server_sends_weights,on_device,list\n"
        '1,,,true,0.5,"[1, null]"\n'
    )
    folder.finish({"best_accuracy": math.nan})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(line, parse_constant=refuse) == {
        "round": 1,
        "test_loss": None,
        "train_loss": None,
        "exchange": {"server_sends_weights": True},
        "on_device": 0.5,
        "list": [1, None],
    }
    assert read(tmp_path).summary == {"best_accuracy": None}


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "summary.json"])
def test_an_earlier_run_is_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match=r"^out: .*already holds a run.*--overwrite"):
        create(tmp_path)
    assert (tmp_path / name).read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_overwriting_replaces_what_a_run_wrote_and_nothing_else(tmp_path):
    first = create(tmp_path)
    first.append([{"round": 1}])
    first.finish({"status": "completed"})
    first.keep({"wandb": {"id": "a1"}})
    first.close()
    exported = [tmp_path / name for name in ("model.safetensors", "model.fedcode", "model.json")]
    for file in [tmp_path / "curves.png", *exported]:
        file.write_bytes(b"old")
    (tmp_path / "clients.csv").write_text("round,client\n1,0\n")
    (tmp_path / "notes.txt").write_text("mine")
    second = create(tmp_path, overwrite=True)
    assert read(second.path)[1:] == ([], None)
    assert not any(file.exists() for file in [tmp_path / "curves.png", *exported])
    for name in ("clients.csv", "metrics.csv", "logs.json"):
        assert not (tmp_path / name).exists()
    assert second.kept() == {}
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_files_is_used(tmp_path):
    files = [tmp_path / name for name in ("notes.txt", "model.safetensors")]
    for file in files:
        file.write_text("mine")
    assert read(create(tmp_path).path).records == []
    assert [file.read_text() for file in files] == ["mine", "mine"]


def test_places_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"^out: .*is not a folder; choose another --out"):
            create(path)
    with pytest.raises(ConfigError, match=r"^out: '/proc/.*cannot be written"):
        create("/proc/fedcode-run")
    with pytest.raises(ConfigError, match=r"^out: .*cannot be written"):
        create(tmp_path / ("x" * 300))


@pytest.mark.parametrize("cut", ['{"rou', '{"round": 2', "{", '{"name": "\u00e9'])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path, cut):
    folder = create(tmp_path)
    folder.append([{"round": 1}])
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(cut.encode()[: None if cut.isascii() else -1])
    assert read(folder.path).records == [{"round": 1}]


@pytest.mark.parametrize("line", ["{", "[1]", ""])
def test_a_damaged_line_is_named(tmp_path, line):
    create(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(f'{{"round": 1}}\n{line}\n{{"round": 3}}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2: is not a record"):
        read(tmp_path)


def test_what_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"is .* the folder of a run"):
        read(tmp_path / "nope")
    create(tmp_path).finish({})
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        read(tmp_path)


def test_a_folder_that_vanishes_is_reported(tmp_path):
    folder = create(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be written"):
        folder.append([{"round": 1}])
    with pytest.raises(CheckpointError, match=r"summary\.json: cannot be written"):
        folder.finish({})
    folder.close()


def test_versions_name_what_the_figures_depend_on():
    import jax

    versions = installed_versions("2 cores")
    assert versions["jax"] == jax.__version__
    assert versions["device"] == "2 cores"
    assert {"fedcode_jax", "flax", "optax", "numpy", "python"} <= set(versions)


def test_flags_that_change_numbers_are_noted(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert "XLA_FLAGS" not in installed_versions("cpu")["flags"]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert "XLA_FLAGS=--xla_cpu_enable_fast_math=true" in installed_versions("cpu")["flags"]
