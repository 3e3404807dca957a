"""FedCode and its controls come to what they came to before, to the last bit on one machine."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).with_name("golden")))
import figures

HELD = json.loads(figures.PATH.read_text())
QUICK = {"small, fedcode", "small, fedavg", "small, skip", "small, conditional", figures.SWEPT}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in HELD["cases"]],
)
def test_figures_are_those_of_before(case):
    """Elsewhere rounding differs, and k-means amplifies it: bytes must agree, accuracies nearly."""
    exactly = HELD["machine"] == figures.machine()
    found = figures.figures(case)
    assert figures.differences(found, HELD["cases"][case], exactly=exactly) == []


def test_a_figure_that_differs_is_found():
    held = HELD["cases"]["small, fedcode"]
    other = {**held, "summary": {**held["summary"], "total_uplink_bytes": 1}}
    for exactly in (True, False):
        (line,) = figures.differences(other, held, exactly=exactly)
        assert line.startswith("total_uplink_bytes: 1, not")
    assert figures.differences({**held, "weights": "0"}, held, exactly=True) == ["weights"]
