"""Sweeps in processes of their own: several at once, and such as are killed."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tiny_sweep import words

from fedcode_jax.simulation import checkpoint

FEDCODE = [sys.executable, "-c", "import sys; from fedcode_jax.cli import main; sys.exit(main())"]
AXES = ["--axis", "seed=0,1,2,3,4,5", "--axis", "local.batch-size=8,30", "--quiet"]
TABLES = ("results.csv", "results.parquet")


def start(out, *others):
    log = out.with_suffix(".log")
    with log.open("a") as file:
        command = [*FEDCODE, *words("--out", str(out), *others)]
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def ended(process, out, code=0):
    assert process.wait(300) == code, out.with_suffix(".log").read_text()


def until(happened, seconds=200):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finished(out):
    return list((out / "runs").glob("[0-9]*"))


def check_same_table(one, other):
    for name in TABLES:
        assert (one / name).read_bytes() == (other / name).read_bytes()


def without_time(out):
    return [
        re.sub(r'"(wall_seconds|padding_waste)": [^,}]+', "", path.read_text())
        for path in sorted((out / "runs").glob("[0-9]*/metrics.jsonl"))
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The sweep, run plainly."""
    out = tmp_path_factory.mktemp("plain") / "whole"
    ended(start(out, *AXES), out)
    return out


@pytest.mark.slow
def test_four_shares_at_once_are_the_plain_sweep(tmp_path, whole):
    out = tmp_path / "shares"
    shares = [start(out, *AXES, "--share", f"{number}/4") for number in (1, 2, 3, 4)]
    until(lambda: (out / "sweep.json").exists())
    plain = start(out, *AXES)
    for share in shares:
        ended(share, out)
    if plain.wait(300) == 2:  # it came while a share ran
        assert re.search(r"share \d/4, is being written by process \d+ on", log(out))
    check_same_table(out, whole)
    assert without_time(out) == without_time(whole)


def log(out):
    return out.with_suffix(".log").read_text()


@pytest.mark.slow
def test_two_of_three_workers_of_a_cluster_are_killed(tmp_path, whole):
    pytest.importorskip("distributed")
    out, told = tmp_path / "cluster", tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    with contextlib.ExitStack() as stack:

        def begin(*command):
            with (tmp_path / "dask.log").open("a") as file:
                process = subprocess.Popen(
                    [*dask, *command], stdout=file, stderr=subprocess.STDOUT, cwd=tmp_path
                )
            stack.callback(process.wait, 60)
            stack.callback(process.kill)
            return process

        begin(
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--scheduler-file", str(told)),
        )
        until(told.exists)
        address = json.loads(told.read_text())["address"]
        options = ("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        workers = [begin(*options, "--name", str(number)) for number in range(3)]
        until(lambda: (tmp_path / "dask.log").read_text().count("Registered to") == 3)
        sweep = start(out, *AXES, "--cluster", address)
        until(lambda: finished(out))
        for worker in workers[:2]:
            worker.send_signal(signal.SIGKILL)
        ended(sweep, out)
    assert len(finished(out)) == 12
    check_same_table(out, whole)
    assert without_time(out) == without_time(whole)


LONG = (
    *("--rounds", "200", "--eval-every", "10", "--checkpoint-every", "5"),
    *("--axis", "seed=0,1,2", "--quiet", "--algorithm.name", "fedcode"),
)


@pytest.mark.slow
def test_one_that_is_killed_goes_on_at_its_checkpoints_to_the_same_bits(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    ended(start(whole, *LONG), whole)

    def begun(number):
        return checkpoint.rounds(out / "runs" / f".{number:04d}" / "checkpoints")

    first = start(out, *LONG)
    until(lambda: begun(0))
    first.send_signal(signal.SIGSTOP)
    ended(start(out, *LONG), out, 2)
    assert f"is being written by process {first.pid} on" in log(out)
    first.send_signal(signal.SIGKILL)
    assert first.wait(60) == -signal.SIGKILL
    done = shutil.copytree(out, tmp_path / "copy") / "runs" / ".0000" / "metrics.jsonl"
    third = start(out, *LONG)
    until(lambda: begun(1))
    third.send_signal(signal.SIGTERM)
    assert third.wait(60) == 143
    assert (out / "results.csv").read_text().count("\n") == 1 + 1  # what is finished
    ended(start(out, *LONG), out)
    check_same_table(out, whole)
    assert without_time(out) == without_time(whole)
    for folder in sorted((whole / "runs").iterdir()):
        last = "checkpoints/round_000200/part_000.safetensors"
        assert (folder / last).read_bytes() == (out / "runs" / folder.name / last).read_bytes()
    # What was done before the kill was not done again: its records have the same times.
    kept, *_ = done.read_text().splitlines()
    assert (out / "runs" / "0000" / "metrics.jsonl").read_text().startswith(kept)
