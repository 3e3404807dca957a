"""What EXPORT.md shows, run on a real run: each example finds the accuracy to the digit."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import fedcode_jax
from fedcode_jax import experiment
from fedcode_jax.cli import main
from fedcode_jax.cli.options import parse
from fedcode_jax.cli.run import RunOptions
from fedcode_jax.results.model_files import read_model

PAGE = Path(fedcode_jax.__file__).parent / "results" / "EXPORT.md"


def blocks(language):
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def commands(block):
    return [shlex.split(line)[1:] for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the first commands have run, the run in 2 rounds."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run, export = commands(blocks("bash")[0])
        assert main([*run, "--rounds", "2", "--local.epochs", "1", "--quiet"]) == 0
        assert main(export) == 0
    return folder


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "runs" / "mlp" / "summary.json").read_text())


def executed(folder, monkeypatch, *codes):
    monkeypatch.chdir(folder)
    names = {"__name__": "page"}
    for code in codes:
        exec(compile(code, str(PAGE), "exec"), names)
    return names


def test_plain_flax_finds_the_accuracy_of_the_deployed_model(folder, summary, monkeypatch, capsys):
    samples, flax, *_ = blocks("python")
    names = executed(folder, monkeypatch, samples, flax)
    assert float(names["accuracy"]) == summary["final_deployed_accuracy"]
    assert names["about"]["accuracy"] == str(summary["final_deployed_accuracy"])
    assert str(names["accuracy"]) in capsys.readouterr().out


def test_plain_flax_finds_the_accuracy_of_the_servers_weights(folder, summary, monkeypatch):
    samples, flax, *_ = blocks("python")
    fedcode_jax.export(
        folder / "runs" / "mlp", folder / "server", form="safetensors", weights="server"
    )
    names = executed(folder, monkeypatch, samples, flax.replace("exported/", "server/"))
    assert float(names["accuracy"]) == summary["final_accuracy"]
    assert float(names["about"]["accuracy"]) == summary["final_accuracy"]
    assert summary["final_accuracy"] != summary["final_deployed_accuracy"]  # they can be told apart


def test_numpy_finds_the_accuracy_of_the_compressed_form(folder, summary, monkeypatch):
    samples, _, numpy, _ = blocks("python")
    names = executed(folder, monkeypatch, samples, numpy)
    assert float(names["accuracy"]) == summary["final_deployed_accuracy"]
    assert names["about"]["accuracy"] == summary["final_deployed_accuracy"]
    expected = read_model(folder / "exported" / "model.safetensors").variables
    assert names["variables"].keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(names["variables"][name], array)


def test_numpy_alone_reads_the_bytes(folder, monkeypatch):
    samples, _, numpy, alone = blocks("python")
    names = executed(folder, monkeypatch, samples, numpy, alone)
    for found, section in zip(names["sections"], names["message"].sections, strict=True):
        coded = hasattr(section, "codes")
        values = section.centers[section.codes] if coded else section.values
        np.testing.assert_array_equal(found, values)


def test_the_message_is_as_long_as_what_a_client_was_sent(folder):
    records = (folder / "runs" / "mlp" / "metrics.jsonl").read_text().splitlines()
    sent = json.loads(records[0])["downlink_bytes"]
    assert (folder / "exported" / "model.fedcode").stat().st_size * 10 == sent


def test_other_runs_start_from_it(folder, monkeypatch):
    """The experiments of the commands, as far as the first round."""
    monkeypatch.chdir(folder)
    deployed = read_model("exported/model.safetensors").about["checksum"]
    given = commands(blocks("bash")[1])
    configs = [parse(RunOptions, "fedcode run", words).experiment for _, *words in given]
    found = [experiment.build(config).init_checksum for config in configs]
    assert len(found) == 3
    assert found[0] == found[2] == deployed != found[1]


@pytest.mark.parametrize("name", ["model.safetensors", "model.fedcode", "model.json"])
def test_the_page_names_every_file(folder, name):
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")
    assert (folder / "exported" / name).exists()
