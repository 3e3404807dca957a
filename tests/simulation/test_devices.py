"""One process with 8 devices: however many of them share the clients, the result is the same."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("on_devices.py")
CASES = {"fedavg": [2, 8], "conditional": [8], "sampled": [2], "local_only": [8], "fedper": [8]}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What ``on_devices.py`` found, which takes as long as all its compilations."""
    folder = tmp_path_factory.mktemp("devices")
    command = [sys.executable, "-W", "error", str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "results.json").read_text())
    with np.load(folder / "weights.npz") as weights:
        return {**results, "weights": dict(weights)}


pairs = pytest.mark.parametrize(
    ("case", "devices"), [(case, n) for case, counts in CASES.items() for n in counts]
)


@pairs
def test_weights_and_scores_are_those_of_one_device(found, case, devices):
    one, many = found["weights"][f"{case}-1"], found["weights"][f"{case}-{devices}"]
    difference = np.abs(one - many)
    # A weight half-way between two centers may be coded by either.
    assert np.quantile(difference, 0.99) < 1e-5
    assert difference.max() < (0.05 if case in ("conditional", "sampled") else 1e-5)
    one, many = found["cases"][case]["1"], found["cases"][case][str(devices)]
    names = ["train_loss", "test_loss", "test_accuracy"]
    if case == "fedper":
        names += ["personal_accuracy", "personal_loss", "personal_test_loss"]
    for name in names:
        assert one["records"][-1][name] == pytest.approx(many["records"][-1][name], rel=1e-3)


@pairs
def test_bytes_are_those_of_one_device(found, case, devices):
    one, many = found["cases"][case]["1"], found["cases"][case][str(devices)]
    for a, b in zip(one["records"], many["records"], strict=True):
        for name in ("uplink_bytes", "downlink_bytes", "uplink_formula_bits", "exchange"):
            assert a[name] == b[name]


@pairs
def test_one_program_is_compiled_and_used_on_all_devices(found, case, devices):
    facts = found["cases"][case][str(devices)]
    assert (facts["compilations"], facts["devices"]) == (1, devices)


def test_what_clients_keep_is_spread_where_the_devices_divide_them(found):
    for case in ("local_only", "fedper"):
        assert all(found["cases"][case]["8"]["spread"])  # 8 clients
    assert all(found["cases"]["fedavg"]["2"]["spread"])  # 10 clients
    assert not any(found["cases"]["fedavg"]["8"]["spread"])
    assert all(facts["replicated"] for facts in found["cases"]["fedavg"].values())


def test_idle_places_are_counted_as_waste(found):
    waste = [found["cases"]["fedavg"][n]["records"][0]["padding_waste"] for n in ("1", "8")]
    assert waste[0] == 0
    assert waste[1] > 0.2  # 10 clients of unlike sizes in 16 places


def test_test_sets_that_do_not_divide_are_scored_exactly(found):
    one, *others = found["scores"].values()
    for other in others:
        assert other == pytest.approx(one, rel=1e-5)
    for accuracy, _, wrong in found["scores"].values():
        assert wrong == pytest.approx(1 - accuracy)
