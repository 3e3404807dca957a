import math

import numpy as np
import pytest
from scipy import stats

from fedcode_jax.advice import Choice, Floor, choices, decide, estimate, yardstick
from fedcode_jax.advice.choosing import Estimate, interval, promising, steady_accuracy
from fedcode_jax.config import ExperimentConfig, replace


def fedcode(period):
    return Choice("fedcode", 64, "periodic", 2, period, period)


def made(period, accuracy, cost, half_width=0.01, failed=0, seeds=5):
    return Estimate(
        fedcode(period),
        seeds,
        failed,
        accuracy,
        half_width,
        0.98 - accuracy,
        half_width,
        cost,
        cost,
    )


@pytest.mark.parametrize("n", [2, 3, 5, 21, 40])
def test_intervals_are_students(n):
    values = np.random.default_rng(n).normal(0.9, 0.02, n)
    mean, half_width = interval(values.tolist())
    low, high = stats.t.interval(0.9, n - 1, values.mean(), stats.sem(values))
    assert mean == pytest.approx(values.mean())
    assert half_width == pytest.approx((high - low) / 2, rel=5e-3)


def test_an_estimate_pairs_its_losses_by_seed():
    def run(accuracy, size, status="completed"):
        records = [{"deployed_accuracy": value} for value in [0.0] * 5 + [accuracy] * 10]
        summary = {
            "status": status, "period": 5, "simulated_seconds": 3.0,
            "total_uplink_bytes": size, "total_downlink_bytes": 2 * size,
        }  # fmt: skip
        return summary, records

    own = {0: run(0.90, 10), 1: run(0.92, 20), 2: run(0.1, 99, "diverged"), 3: run(0.94, 30)}
    fedavg = {0: run(0.92, 0), 1: run(0.93, 0), 2: run(0.9, 0)}
    found = estimate(fedcode(5), own, fedavg)
    assert (found.seeds, found.failed) == (3, 1)
    assert found.accuracy == pytest.approx(0.92)
    assert found.loss == pytest.approx((0.02 + 0.01) / 2)  # seed 3 has no yardstick
    assert found.loss_half_width == pytest.approx(interval([0.02, 0.01])[1])
    assert (found.bytes, found.seconds) == (60, 3.0)
    alone = estimate(fedcode(5), {0: run(0.9, 1)}, {})
    assert alone.half_width == math.inf
    assert math.isnan(alone.loss)


@pytest.mark.parametrize(("period", "rounds"), [(1, 10), (4, 12), (10, 10), (15, 15)])
def test_steady_accuracy_is_over_whole_periods_of_at_least_ten_rounds(period, rounds):
    records = [{"deployed_accuracy": float(i)} for i in range(40)]
    records[-1]["deployed_accuracy"] = None
    expected = np.mean([float(i) for i in range(40)][-rounds:-1])
    assert steady_accuracy(records, period) == pytest.approx(expected)


def test_without_a_period_steady_accuracy_is_over_the_last_ten_rounds():
    records = [{"deployed_accuracy": float(i)} for i in range(40)]
    assert steady_accuracy(records, None) == pytest.approx(np.mean(range(30, 40)))
    assert steady_accuracy(records[:4], None) == pytest.approx(1.5)
    sizes = {"total_uplink_bytes": 1, "total_downlink_bytes": 1, "simulated_seconds": 1.0}
    run = {"status": "completed", "period": None, **sizes}, [{"deployed_accuracy": 0.9}] * 12
    assert estimate(fedcode(5), {0: run}, {0: run}).accuracy == pytest.approx(0.9)


def test_the_cheapest_that_surely_keeps_the_floor_is_recommended():
    estimates = [
        made(1, 0.97, 100.0),
        made(2, 0.965, 50.0, half_width=0.03),  # kept in the mean, not surely
        made(5, 0.962, 70.0, half_width=0.001),
        made(10, 0.90, 10.0),
        made(20, 0.99, 1.0, failed=1),  # what fails is not recommended
    ]
    verdict = decide(estimates, Floor(loss=0.02), "bytes")
    assert verdict.status == "kept"
    assert verdict.best.choice == fedcode(5)
    assert verdict.cheaper.choice == fedcode(2)  # of the cheaper ones that which loses least
    assert verdict.safer.choice == fedcode(2)
    assert decide(estimates, Floor(accuracy=0.955), "seconds").best.choice == fedcode(5)


def test_doubt_is_said():
    estimates = [made(1, 0.97, 100.0, half_width=0.05), made(5, 0.961, 70.0, half_width=0.05)]
    verdict = decide(estimates, Floor(loss=0.02), "bytes")
    assert verdict.status == "likely"
    assert verdict.best.choice == fedcode(1)


def test_an_impossible_floor_is_said_to_be_impossible_with_the_best_there_is():
    estimates = [made(1, 0.97, 100.0), made(5, 0.962, 70.0)]
    verdict = decide(estimates, Floor(accuracy=0.999), "bytes")
    assert verdict.status == "impossible"
    assert verdict.best.choice == fedcode(1)
    assert verdict.safer is None
    assert decide([], Floor(accuracy=0.5), "bytes") is None


def test_more_seeds_go_to_the_cheapest_that_may_keep_the_floor_and_to_the_safest():
    estimates = [made(p, 0.97 - 0.001 * p, 100.0 / p) for p in range(1, 13)]
    found = promising(estimates, Floor(loss=0.015), "bytes", 4)
    # Down to half a point under the floor counts.
    assert found == [fedcode(9), fedcode(8), fedcode(7), fedcode(1)]


def test_choices_suit_the_experiment():
    config = replace(ExperimentConfig(), {"rounds": 60})
    found = choices(config)
    assert len(set(found)) == len(found)
    assert {choice.algorithm for choice in found} == {"fedcode", "skip"}
    assert {choice.num_clusters for choice in found} == {64, 16}
    assert {choice.start for choice in found} == {2, 10}
    assert {choice.schedule for choice in found} == {"periodic", "paired", "warmup", "late"}
    for choice in [yardstick(config), *found]:
        assert replace(config, choice.settings).schedule.start == choice.start
    short = choices(replace(config, {"rounds": 8}))
    assert max(choice.server_period for choice in short) <= 4
    assert short
