"""``benchmarks/soak.py``: what of a run did not stay as it was is told."""

import json
import sys
from pathlib import Path

import fedcode_jax

BENCHMARKS = Path(fedcode_jax.__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import soak  # noqa: E402


def windows(**last):
    """Eight windows of 100 rounds that are alike, but for the last two."""
    same = {"resident_bytes": 6e8, "device_bytes": 1000, "cpu_seconds_a_round": 0.01}
    return [{"round": 100 * n, **same, **(last if n > 6 else {})} for n in range(1, 9)]


def test_a_run_that_stays_as_it_was_has_no_problems():
    assert soak.problems(windows()) == []
    assert soak.problems(windows(resident_bytes=6.1e8, cpu_seconds_a_round=0.012)) == []


def test_each_thing_that_grows_is_told():
    (line,) = soak.problems(windows(device_bytes=1004))
    assert line == "arrays on the devices took from 1,000 to 1,004 bytes"
    (line,) = soak.problems(windows(resident_bytes=6.5e8))
    assert line == "resident memory grew by 50 MB"
    (line,) = soak.problems(windows(cpu_seconds_a_round=0.02))
    assert line == "a round took 10.0 ms of the CPU, and 20.0 at last"


def test_the_kept_figures_hold():
    held = json.loads((BENCHMARKS / "results" / "soak.json").read_text())
    assert held["problems"] == soak.problems(held["windows"]) == []
    assert held["windows"][-1]["round"] >= 2000
