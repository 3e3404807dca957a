"""``export``: what leaves a run, and what is refused."""

import json

import flax.linen as nn
import jax
import numpy as np
import pytest
from begun import begun, small

import fedcode_jax
from fedcode_jax import wire
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.experiment.starting import read
from fedcode_jax.results.model_files import by_path, checksum, read_model

FILES = ["model.fedcode", "model.json", "model.safetensors"]


def same(found, tree):
    expected = by_path(tree)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "fedcode"
    changes = {"algorithm.coding": "conditional", "algorithm.groups": "everything"}
    return out, begun(out, changes)


def test_both_forms_hold_the_deployed_model(run, tmp_path):
    folder, made = run
    written = fedcode_jax.export(folder, tmp_path / "a" / "b")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == FILES
    server = made.program.algorithm.init(made.weights, 2)[0]
    _, deployed = made.program.algorithm.report(server, None)
    deployed = jax.tree.map(lambda leaf: leaf[0], deployed)
    for path, model in written.items():
        found = read_model(path)
        same(found.variables, deployed)
        same(model.variables, deployed)
        assert found.about["checksum"] == checksum(found.variables)
    about = json.loads((tmp_path / "a" / "b" / "model.json").read_text())
    data = made.dataset
    assert about.pop("fedcode_jax") == fedcode_jax.__version__
    del about["checksum"]
    assert about == {
        "weights": "deployed",
        "algorithm": "fedcode",
        "round": 0,
        "accuracy": 0.125,
        "model": "mlp",
        "model_settings": {"name": "mlp", "hidden": [8]},
        "data": "synthetic",
        "features": None,
        "input_shape": [6],
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "class_names": list(data.class_names),
        "sections": [
            {
                "params/dense1/bias": [8],
                "params/dense1/kernel": [6, 8],
                "params/head/bias": [3],
                "params/head/kernel": [8, 3],
            }
        ],
    }


def test_the_servers_weights_are_another_choice(run, tmp_path):
    folder, made = run
    (path,) = fedcode_jax.export(folder, tmp_path, form="safetensors", weights="server")
    found = read_model(path)
    same(found.variables, made.weights)
    assert found.about["weights"] == "server"
    assert found.about["accuracy"] == "0.25"
    with pytest.raises(ConfigError, match="'server' has no use with form compressed"):
        fedcode_jax.export(folder, tmp_path, form="compressed", weights="server")


def test_nothing_is_overwritten_unless_that_is_asked_for(run, tmp_path):
    folder, _ = run
    fedcode_jax.export(folder, tmp_path, form="compressed")
    before = (tmp_path / "model.fedcode").read_bytes()
    (tmp_path / "model.fedcode").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"model\.fedcode' exists already"):
        fedcode_jax.export(folder, tmp_path)
    assert (tmp_path / "model.fedcode").read_bytes() == b"mine"
    assert not (tmp_path / "model.safetensors").exists()
    fedcode_jax.export(folder, tmp_path, overwrite=True)
    assert (tmp_path / "model.fedcode").read_bytes() == before
    with pytest.raises(ConfigError, match="is not a folder"):
        fedcode_jax.export(folder, tmp_path / "model.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "onnx"}, r"form: unknown name 'onnx'"),
        ({"weights": "clients"}, r"weights: unknown name 'clients'"),
        ({"round": 7}, r"round: 7 has no checkpoint in .*; there are 0"),
    ],
)
def test_options_that_cannot_be_used(run, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        fedcode_jax.export(run[0], tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_folders_without_a_trained_model(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"is '.*nowhere' the folder of a run"):
        fedcode_jax.export(tmp_path / "nowhere")
    out = tmp_path / "sweep"
    begun(out)
    (out / "checkpoints").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint.*fedcode run --config"):
        fedcode_jax.export(out)
    (out / "checkpoints" / "round_000003").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"manifest.json cannot be read"):
        fedcode_jax.export(out)
    other = tmp_path / "other"
    begun(other, {"model.hidden": [4]})
    (other / "config.yaml").write_text((run[0] / "config.yaml").read_text())
    with pytest.raises(CheckpointError, match="does not fit this experiment"):
        fedcode_jax.export(other)
    with pytest.raises(ConfigError, match="this run has no folder"):
        fedcode_jax.export(fedcode_jax.Result(small(), [], {}, {}, None))


def test_a_model_that_diverged_is_refused(tmp_path):
    begun(tmp_path / "run", spoilt=True)
    message = r"round 0: has values that are not finite in params/dense1/.* and 1 more; take an"
    with pytest.raises(CheckpointError, match=message):
        fedcode_jax.export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=r"init: .*not finite"):
        read(str(tmp_path / "run"))


def test_a_run_without_a_common_model_is_refused(tmp_path):
    begun(tmp_path / "run", {"algorithm.name": "local_only"})
    with pytest.raises(ConfigError, match="trains a model for each client"):
        fedcode_jax.export(tmp_path / "run")


def test_what_stays_at_clients_is_there_as_it_started_and_said(tmp_path):
    made = begun(tmp_path / "run", {"algorithm.groups": "*/head/*=local,kernels"})
    written = fedcode_jax.export(tmp_path / "run", tmp_path)
    for model in written.values():
        assert "values that they started with" in model.about["note"]
        head = made.weights["params"]["head"]["kernel"]
        np.testing.assert_array_equal(model.variables["params/head/kernel"], head)
    sections = wire.decode((tmp_path / "model.fedcode").read_bytes()).sections
    assert [type(section).__name__ for section in sections] == ["Dense", "Coded", "Dense"]


def test_changes_go_as_floats(tmp_path):
    made = begun(tmp_path / "run", {"algorithm.name": "stc"})
    fedcode_jax.export(tmp_path / "run", form="compressed")
    (section,) = wire.decode((tmp_path / "run" / "model.fedcode").read_bytes()).sections
    assert section.values.size == sum(x.size for x in jax.tree.leaves(made.weights))
    # What clients would hold after the first broadcast: that is of no change.
    same(read_model(tmp_path / "run" / "model.fedcode").variables, made.weights)


class Tiny(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


def test_parts_that_were_given_in_python_are_given_again(tmp_path):
    begun(tmp_path / "run", {"model.hidden": [64]}, model=Tiny())
    with pytest.raises(ConfigError, match="give it again"):
        fedcode_jax.export(tmp_path / "run")
    with pytest.raises(ConfigError, match="export the model where that can be read"):
        read(str(tmp_path / "run"))
    written = fedcode_jax.export(tmp_path / "run", model=Tiny())
    for path in written:
        assert read(str(path)).keys() == {"params/Dense_0/bias", "params/Dense_0/kernel"}
