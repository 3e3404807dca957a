"""One process writes a folder at a time, and a lock that is left behind is no lock."""

import json
import os
import signal
import subprocess
import sys

import pytest

import fedcode_jax
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.results.locking import LOCK, OWNER, FolderLock, check_unheld

HOLD = """
import sys, time
from fedcode_jax.results.locking import FolderLock
held = FolderLock(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_who_has_it_is_told_and_nothing_is_touched(holder, tmp_path):
    told = rf"is being written by process {holder.pid} on .*; wait for it, or choose another"
    before = content(tmp_path)
    tiny = {"rounds": 1, "model.name": "mlp", "out": str(tmp_path)}
    config = replace(ExperimentConfig(), tiny)
    for way in ({}, {"overwrite": True}):
        with pytest.raises(ConfigError, match=told):
            fedcode_jax.run(config, **way)
    with pytest.raises(ConfigError, match=told):
        check_unheld(tmp_path)
    assert content(tmp_path) == before


def test_a_process_that_is_killed_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait(30)
    check_unheld(tmp_path)
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
        with pytest.raises(ConfigError, match="is being written"):
            check_unheld(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_made_to_look(tmp_path):
    check_unheld(tmp_path)
    check_unheld(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_of_the_owner_does_not_matter(tmp_path):
    with FolderLock(tmp_path):
        (tmp_path / OWNER).write_text("{")
        with pytest.raises(ConfigError, match="by another process"):
            FolderLock(tmp_path)
        assert (tmp_path / LOCK).exists()


def test_a_run_and_a_sweep_leave_no_lock(tmp_path):
    tiny = {"rounds": 1, "model.name": "mlp", "model.hidden": [4], "partition.num_clients": 2}
    config = replace(ExperimentConfig(), tiny)
    fedcode_jax.run(replace(config, {"out": str(tmp_path / "run")}))
    fedcode_jax.sweep(config, {"seed": [0]}, out=str(tmp_path / "sweep"))
    with pytest.raises(ConfigError, match="already holds a run"):
        fedcode_jax.run(replace(config, {"out": str(tmp_path / "run")}))
    assert not [path for path in tmp_path.rglob("*") if path.name in (LOCK, OWNER)]
    with FolderLock(tmp_path / "sweep"), pytest.raises(ConfigError, match="is being written"):
        fedcode_jax.sweep(config, {"seed": [0]}, out=str(tmp_path / "sweep"))
