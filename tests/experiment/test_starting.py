"""``init``: runs that start from trained weights."""

import json
import shutil

import jax
import numpy as np
import pytest
from begun import begun, small

import fedcode_jax
from fedcode_jax import experiment
from fedcode_jax.cli import main
from fedcode_jax.config import ExperimentConfig, from_yaml, replace, to_yaml
from fedcode_jax.errors import ConfigError
from fedcode_jax.results.model_files import as_safetensors, by_path, checksum, read_model


def same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, what is exported of it, and the server's weights by path."""
    folder = tmp_path_factory.mktemp("init")
    made = begun(folder / "run", {"seed": 5})
    fedcode_jax.export(folder / "run", folder)
    fedcode_jax.export(folder / "run", folder / "server", form="safetensors", weights="server")
    return folder, by_path(made.weights)


def started(init, changes=None):
    return experiment.build(small({"init": str(init), **(changes or {})}))


def test_a_run_starts_from_each_form_and_from_a_folder(folder):
    folder, weights = folder
    deployed = read_model(folder / "model.safetensors").variables
    for name, expected in (
        ("model.safetensors", deployed),
        ("model.fedcode", deployed),
        ("server/model.safetensors", weights),
        ("run", weights),
    ):
        made = started(folder / name)
        same(by_path(made.weights), expected)
        assert made.init_checksum == checksum(expected)
        assert made.info["starts from"] == str(folder / name)
    assert not np.array_equal(
        by_path(experiment.build(small()).weights)["params/head/kernel"],
        deployed["params/head/kernel"],
    )
    assert experiment.build(small()).init_checksum is None


def test_a_path_is_relative_to_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder[0])
    config = from_yaml(to_yaml(small({"init": "run"})))
    assert config.init == "run"
    same(by_path(experiment.build(config).weights), folder[1])


def test_what_the_model_does_not_have_can_be_left_out_too(folder, tmp_path):
    more = {**folder[1], "params/extra/kernel": np.ones((2, 2), np.float32)}
    (tmp_path / "more").write_bytes(as_safetensors(more, {}))
    with pytest.raises(ConfigError, match=r"params/extra/kernel is not in the model; give the"):
        started(tmp_path / "more")
    same(by_path(started(tmp_path / "more", {"init_skip": "*/extra/*"}).weights), folder[1])


def test_another_head_starts_at_random(folder):
    changes = {"data.num_classes": 4, "init_skip": ["*/head/*"]}
    made, fresh = (
        started(folder[0] / "run", changes),
        experiment.build(small({"data.num_classes": 4})),
    )
    own = made.weights["params"]
    same(own["head"], fresh.weights["params"]["head"])
    np.testing.assert_array_equal(own["dense1"]["kernel"], folder[1]["params/dense1/kernel"])
    assert made.config.init_skip == ("*/head/*",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.num_classes": 4},
            r"init: '.*run' does not fit model.name mlp: params/head/bias is \[3\] there and \[4\] "
            r"in the model, params/head/kernel is \[8, 3\] there and \[8, 4\] in the model; .*"
            r"--init-skip 'params/head/\*'",
        ),
        (
            {"model.hidden": [8, 8]},
            r"params/dense2/bias is not in it, params/dense2/kernel is not in it; ",
        ),
        ({"model.hidden": [4, 4]}, r"params/dense1/bias is \[8\] there and \[4\] .* and 2 more; "),
        ({"init_skip": ["*/hed/*"]}, r"init_skip: '\*/hed/\*' names no variable; the model has p"),
        ({"init_skip": ["*"]}, r"init_skip: leaves nothing of init"),
    ],
)
def test_what_does_not_fit_the_model(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        started(folder[0] / "run", changes)


def test_files_that_cannot_be_used(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"init: '.*none' does not exist; give"):
        started(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"init: .*is '.*' the folder of a run"):
        started(tmp_path)
    for name in ("model.safetensors", "model.fedcode", "model.json"):
        whole = (folder[0] / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ConfigError, match=r"init: .*(copy|export it again)"):
            started(tmp_path / name)
    bad = {name: array * np.nan for name, array in folder[1].items()}
    (tmp_path / "bad").write_bytes(as_safetensors(bad, {}))
    with pytest.raises(ConfigError, match=r"init: .*bad: has values that are not finite"):
        started(tmp_path / "bad")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_skip": ["*/head/*"]}, "init_skip: .* has no use without init"),
        ({"init": ""}, "init: '' cannot be used"),
        ({"init": "x", "init_skip": 3}, "init_skip: 3 cannot be used"),
        *(
            ({"init": "x", "algorithm.name": name}, f"no use with algorithm.name {name}, which le")
            for name in ("fedpm", "fedpm_mrc")
        ),
    ],
)
def test_settings_that_do_not_go_together(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(ExperimentConfig(), changes)


def test_a_resumed_run_goes_on_from_its_checkpoint(folder, tmp_path, capsys):
    start = tmp_path / "start.safetensors"
    shutil.copy(folder[0] / "model.safetensors", start)
    config = small({"init": str(start), "rounds": 2, "out": str(tmp_path / "whole")})
    whole = fedcode_jax.run(config)
    expected = checksum(read_model(start).variables)
    assert whole.summary["init_checksum"] == expected
    part = replace(config, {"rounds": 1, "out": str(tmp_path / "part")})
    fedcode_jax.run(part)
    start.unlink()
    again = replace(part, {"rounds": 2})
    resumed = fedcode_jax.run(again, resume=True)
    same(resumed.weights, whole.weights)
    assert resumed.summary["init_checksum"] == expected
    assert json.loads((tmp_path / "part" / "summary.json").read_text())["init_checksum"] == expected
    assert f"init: {expected}" in (tmp_path / "part" / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=r"init: None, there .*: not what the run .* has"):
        fedcode_jax.run(replace(again, {"init": None}), resume=True)
    out = str(tmp_path / "new")
    assert main(["run", "--init", str(start), "--out", out]) == 2
    assert "start.safetensors' does not exist" in capsys.readouterr().err


def test_a_sweep_may_have_it_on_an_axis(folder, tmp_path):
    config = small({"init": str(folder[0] / "run")})
    inits = [str(folder[0] / "run"), str(tmp_path / "none"), str(folder[0] / "model.fedcode"), None]
    result = fedcode_jax.sweep(config, {"init": inits}, out=str(tmp_path / "sweep"))
    first, failed, second, random = (run.summary for run in result.runs)
    assert failed["status"] == "failed"
    assert "does not exist" in failed["error"]
    assert first["init_checksum"] == checksum(folder[1])
    assert second["init_checksum"] == checksum(read_model(folder[0] / "model.fedcode").variables)
    assert "init_checksum" not in random
    losses = [run.records[0]["train_loss"] for run in result.runs if run.records]
    # In the first round clients are sent the deployed model.
    assert losses[0] == losses[1] != losses[2]
    assert fedcode_jax.run(config).records[0]["train_loss"] == losses[0]
