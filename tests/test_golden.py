"""Every algorithm and model comes to what it came to before, to the last bit on one machine."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).with_name("golden")))
import figures

HELD = json.loads(figures.PATH.read_text())
QUICK = {"small, fedcode", "small, fedavg", "small, skip", "small, conditional", figures.SWEPT}
QUICK |= {f"algorithm {name}" for name in ("scaffold", "lbgm", "fedpm", "fedbif", "fedcompress")}
QUICK |= {f"model {name}" for name in ("mlp", "cnn", "cnn_fedavg", "cnn_pfl", "lenet5")}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in HELD["cases"]],
)
def test_figures_are_those_of_before(case):
    """Elsewhere rounding differs, and k-means amplifies it: bytes must agree, accuracies nearly."""
    exactly = HELD["machine"] == figures.machine()
    found = figures.figures(case)
    assert figures.differences(found, HELD["cases"][case], exactly=exactly) == []


def test_every_algorithm_and_every_model_has_its_figures():
    every = [*figures.EACH_ALGORITHM, *figures.EACH_MODEL, *figures.SMALL, *figures.DEFAULTS]
    assert set(HELD["cases"]) == {*every, figures.SWEPT}


def test_a_figure_that_differs_is_found():
    held = HELD["cases"]["small, fedcode"]
    other = {**held, "summary": {**held["summary"], "total_uplink_bytes": 1}}
    for exactly in (True, False):
        (line,) = figures.differences(other, held, exactly=exactly)
        assert line.startswith("total_uplink_bytes: 1, not")
    assert figures.differences({**held, "weights": "0"}, held, exactly=True) == ["weights"]


def test_the_table_shows_what_was_and_what_is():
    held = HELD["cases"]["small, fedcode"]
    other = {**held, "summary": {**held["summary"], "total_uplink_bytes": 1}}
    rows = figures.changes(other, held, exactly=True)
    was = held["summary"]["total_uplink_bytes"]
    assert figures.shown("a case", rows) == f"a case:\n  total_uplink_bytes  {was} -> 1"
    assert figures.shown("a case", []) == "a case: the same"
