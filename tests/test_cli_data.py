"""``fedcode data``, and ``fedcode run`` on sets that are prepared or missing."""

import subprocess
import sys

import numpy as np
import prepared_sets
import pytest

from fedcode_jax.cli import main
from fedcode_jax.data import prepared

X = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
SPLITS = {"train": (X, np.arange(12) % 3), "test": (X[:5], np.arange(5) % 3)}


@pytest.fixture
def folder(tmp_path):
    prepared_sets.prepare(tmp_path, "mnist", SPLITS, names=list("abc"))
    prepared_sets.prepare(tmp_path, "emnist", SPLITS, names=list("abc"), config="letters")
    prepared_sets.prepare(tmp_path, "my_pictures", SPLITS, names=list("abc"))
    return tmp_path


def rows(capsys):
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.rstrip() for line in lines if line.strip()}


def test_list_shows_what_is_prepared(folder, capsys):
    assert main(["data", "list", "--dir", str(folder)]) == 0
    listed = rows(capsys)
    assert {"digits", "npz", "synthetic", *prepared.KNOWN} < set(listed)
    assert listed["mnist"].endswith(" yes")
    assert listed["emnist/letters"].endswith(" yes")
    assert listed["emnist/balanced"].endswith(" no")
    assert "needs TensorFlow" in listed["speech_commands"]
    for word in ("50,000", "10,000", "32 x 32 x 3", " no"):
        assert word in listed["cifar10"]
    assert listed["my_pictures"].split() == ["my_pictures", "12", "5", "yes"]


def test_list_of_an_empty_or_missing_folder(tmp_path, capsys):
    assert main(["data", "list", "--dir", str(tmp_path / "none")]) == 0
    assert not any(line.endswith(" yes") for line in rows(capsys).values())
    assert not (tmp_path / "none").exists()


def test_prepare_leaves_what_is_prepared(folder, capsys):
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*")}
    capsys.readouterr()
    assert main(["data", "prepare", "mnist", "--dir", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out == f"mnist is prepared already: {folder}/mnist/3.0.2\n"
    assert err == ""
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*")} == before


def test_prepare_writes_a_set_that_is_then_read(tmp_path, capsys, monkeypatch):
    """With a stand-in for the download: CIFAR-10's own code reads files that are made here."""
    batches = tmp_path / "cifar-10-batches-bin"
    batches.mkdir()
    images = np.random.default_rng(1).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8)
    records = np.concatenate([labels[:, None], images.reshape(6, -1)], axis=1)
    for number, row in enumerate(records[:5], 1):
        (batches / f"data_batch_{number}.bin").write_bytes(row.tobytes())
    (batches / "test_batch.bin").write_bytes(records[5].tobytes())
    names = [f"thing{number}" for number in range(10)]
    (batches / "batches.meta.txt").write_text("\n".join(names))
    from etils import epath
    from tensorflow_datasets.core.download import download_manager

    monkeypatch.setattr(
        download_manager.DownloadManager,
        "download_and_extract",
        lambda self, url: epath.Path(tmp_path),
    )
    sets = tmp_path / "sets"
    assert main(["data", "prepare", "cifar10", "--dir", str(sets)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"cifar10 is prepared: {sets}/cifar10/3.")
    assert err == ""

    from fedcode_jax import data

    made = data.load("cifar10", dir=sets)
    np.testing.assert_array_equal(made.train_x, images[:5].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(made.train_y, labels[:5])
    np.testing.assert_array_equal(made.test_x, images[5:].transpose(0, 2, 3, 1))
    assert made.class_names == tuple(names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data prepare cifar1", "name: unknown name 'cifar1'. Did you mean 'cifar10'?"),
        ("data prepare imdb_reviews", "imdb_reviews: an example holds text (Text)"),
        ("data prepar mnist", "action: unknown name 'prepar'. Did you mean 'prepare'?"),
        ("run --data.name cifar1", "data.name: unknown name 'cifar1'. Did you mean 'cifar10'?"),
        (
            "run --data.name npz --data.path a.npz --data.dir x",
            "data.dir: 'x' has no use with data.name npz, which",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"fedcode: error: {message}")
    assert err.count("\n") == 1


def test_a_folder_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    for words in ("data prepare mnist --dir", "run --data.name mnist --data.dir"):
        assert main([*words.split(), str(tmp_path / "file")]) == 2
        assert capsys.readouterr().err == (
            f"fedcode: error: {tmp_path}/file: a file, not a folder of prepared sets\n"
        )


def test_no_network_is_one_line_as_a_user_sees_it(tmp_path):
    """In a process of its own: threads and loggers of the libraries write past Python's streams."""
    code = """
import socket, sys
def refuse(*args, **kwargs):
    raise socket.gaierror("no network here")
socket.getaddrinfo = refuse
from fedcode_jax.cli import main
sys.exit(main(sys.argv[1:]))
"""
    words = ["run", "--data.name", "cifar10", "--data.dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"fedcode: error: cifar10: not prepared in {tmp_path}, and it cannot be downloaded (no "
        "answer from www.cs.toronto.edu); with a network, run: fedcode data prepare cifar10 --dir "
        f"{tmp_path}\n"
    )


def test_help(capsys):
    assert main(["data", "prepare", "--help"]) == 0
    assert "--dir" in capsys.readouterr().out
    assert main(["data"]) == 2
    assert "fedcode data ACTION --help" in capsys.readouterr().err
