"""A sweep that is killed without warning, in a process of its own, and started again."""

import signal
import subprocess
import sys
import time

import pytest

ARGUMENTS = [
    "sweep", "--rounds", "300", "--data.name", "synthetic", "--data.shape", "6",
    "--data.num-classes", "3", "--data.train-size", "60", "--data.test-size", "30",
    "--model.name", "mlp", "--partition.num-clients", "3", "--algorithm.num-clusters", "4",
    "--axis", "seed=0,1,2,3,4,5", "--axis", "schedule.client_period=1,2,5,10", "--quiet",
]  # fmt: skip


def start(out):
    command = [
        sys.executable,
        "-c",
        "import sys; from fedcode_jax.cli import main; sys.exit(main())",
    ]
    with out.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [*command, *ARGUMENTS, "--out", str(out)], stdout=log, stderr=subprocess.STDOUT
        )


def finished(out):
    return sorted(path for path in (out / "runs").glob("[0-9]*")) if out.exists() else []


@pytest.mark.slow
def test_kill_and_start_again(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted = start(whole)
    assert uninterrupted.wait(300) == 0, whole.with_suffix(".log").read_text()
    first = start(killed)
    deadline = time.monotonic() + 300
    while len(finished(killed)) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    assert first.wait(60) == -signal.SIGKILL
    before = {path: (path / "summary.json").stat().st_mtime_ns for path in finished(killed)}
    assert 4 <= len(before) < 24
    assert not (killed / "results.csv").exists()
    second = start(killed)
    assert second.wait(300) == 0, killed.with_suffix(".log").read_text()
    assert len(finished(killed)) == 24
    assert before == {path: (path / "summary.json").stat().st_mtime_ns for path in before}
    assert (killed / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
