import json
import math

import pytest

from fedcode_jax.results import summarise

COSTS = {"fedavg_bytes": 12_000, "fedavg_formula_bits": 96_000}


def record(number, accuracy=None, deployed=None):
    return {
        "round": number,
        "test_accuracy": accuracy,
        "deployed_accuracy": deployed,
        "uplink_bytes": 100,
        "downlink_bytes": 300,
        "uplink_formula_bits": 800,
        "downlink_formula_bits": 1600,
        "cumulative_bytes": 400 * number,
        "simulated_seconds": 2.0,
        "computing_seconds": 0.5,
        "sending_seconds": 1.25,
        "waiting_seconds": 0.25,
        "wall_seconds": 0.5,
    }


def test_figures_of_a_run():
    accuracies = [0.1, 0.9, 0.6, 0.8]
    records = [record(i, a, a / 2) for i, a in enumerate(accuracies, 1)]
    summary = summarise(records, period=3, status="completed", compile_seconds=7.0, **COSTS)
    assert summary == {
        "status": "completed",
        "rounds": 4,
        "final_accuracy": 0.8,
        "final_deployed_accuracy": 0.4,
        "period_accuracy": pytest.approx((0.9 + 0.6 + 0.8) / 3),
        "period_deployed_accuracy": pytest.approx((0.9 + 0.6 + 0.8) / 6),
        "period": 3,
        "best_accuracy": 0.9,
        "total_uplink_bytes": 400,
        "total_downlink_bytes": 1200,
        "reduction_vs_fedavg": 12_000 / 1600,
        "reduction_formula": 96_000 / 9600,
        "simulated_seconds": 8.0,
        "computing_seconds": 2.0,
        "sending_seconds": 5.0,
        "waiting_seconds": 1.0,
        # The second round passes five of them at once; none is reached twice.
        "to_accuracy": [
            {"accuracy": level, "round": 2, "bytes": 800, "seconds": 4.0}
            for level in (0.5, 0.6, 0.7, 0.8, 0.9)
        ],
        "wall_seconds": 2.0,
        "compile_seconds": 7.0,
    }
    json.dumps(summary, allow_nan=False)


def test_the_period_counts_rounds_and_not_evaluations():
    evaluated = {2: 0.2, 4: 0.4, 6: 0.6}
    records = [record(i, evaluated.get(i)) for i in range(1, 8)]
    summary = summarise(records, period=4, status="completed", **COSTS)
    assert summary["period_accuracy"] == pytest.approx(0.5)  # rounds 4 to 7
    assert summary["final_accuracy"] == 0.6
    assert summary["final_deployed_accuracy"] is None
    assert summarise(records, period=1, status="completed", **COSTS)["period_accuracy"] is None


@pytest.mark.parametrize("period", [None, 3, 10])
def test_where_no_period_is_over_there_is_no_mean_of_one(period):
    records = [record(1, 0.2, 0.2), record(2, 0.4, 0.4)]
    summary = summarise(records, period=period, status="interrupted", **COSTS)
    assert summary["period"] == period
    assert summary["period_accuracy"] is None
    assert summary["period_deployed_accuracy"] is None
    assert summary["final_accuracy"] == 0.4


def test_no_rounds():
    summary = summarise([], period=5, status="interrupted", fedavg_bytes=0, fedavg_formula_bits=0)
    assert summary["rounds"] == summary["total_uplink_bytes"] == summary["wall_seconds"] == 0
    for key in ("final_accuracy", "period_accuracy", "best_accuracy", "reduction_vs_fedavg"):
        assert summary[key] is None


def test_nothing_sent_has_no_reduction():
    silent = {"round": 1, "test_accuracy": 0.5, "uplink_bytes": 0, "downlink_bytes": 0}
    summary = summarise([silent], period=1, status="completed", **COSTS)
    assert summary["reduction_vs_fedavg"] is None
    assert summary["reduction_formula"] is None


def test_a_diverged_round_does_not_spoil_the_figures():
    records = [record(1, 0.5), record(2, math.nan)]
    summary = summarise(records, period=2, status="diverged", **COSTS)
    assert summary["final_accuracy"] == summary["period_accuracy"] == 0.5
    assert summary["best_accuracy"] == 0.5
    assert summary["rounds"] == 2
