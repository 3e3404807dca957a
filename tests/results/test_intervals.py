"""Intervals by Student's t, against tables and the law of large numbers."""

import math

import numpy as np
import pytest

from fedcode_jax.results.intervals import Interval, interval, t_quantile

# Two-sided, degrees of freedom by row: any printed table of Student's t.
PUBLISHED = {
    1: {0.90: 6.314, 0.95: 12.706, 0.99: 63.657},
    2: {0.90: 2.920, 0.95: 4.303, 0.99: 9.925},
    3: {0.90: 2.353, 0.95: 3.182, 0.99: 5.841},
    4: {0.90: 2.132, 0.95: 2.776, 0.99: 4.604},
    9: {0.90: 1.833, 0.95: 2.262, 0.99: 3.250},
    30: {0.90: 1.697, 0.95: 2.042, 0.99: 2.750},
    120: {0.90: 1.658, 0.95: 1.980, 0.99: 2.617},
}


@pytest.mark.parametrize("degrees", PUBLISHED)
def test_quantiles_are_the_published_ones(degrees):
    for confidence, value in PUBLISHED[degrees].items():
        assert t_quantile(confidence, degrees) == pytest.approx(value, abs=6e-4)


def test_an_interval_holds_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [interval(row) for row in rng.normal(3.0, 2.0, (4000, 4)).tolist()]
    held = np.mean([each.low <= 3.0 <= each.high for each in found])
    assert abs(held - 0.95) < 0.012  # 3.5 standard errors


def test_the_half_width_is_the_quantile_times_the_standard_error():
    values = [0.9, 0.5, 0.4, 0.8]
    found = interval(values, 0.9)
    error = np.std(values, ddof=1) / 2
    assert found.half_width == pytest.approx(2.35336 * error, rel=1e-4)
    assert (found.mean, found.n) == (pytest.approx(0.65), 4)


def test_few_values_have_no_interval():
    assert interval([0.5]) == Interval(0.5, None, 1)
    assert (interval([0.5]).low, interval([0.5]).high) == (-math.inf, math.inf)
    none = interval([])
    assert math.isnan(none.mean)
    assert none[1:] == (None, 0)


@pytest.mark.parametrize(
    ("values", "sign"),
    [
        ([0.5], 0),  # no interval
        ([0.01, 0.01, 0.01], 0),  # no width: a step of accuracy, by chance the same
        ([0.9 - 0.8, 0.5 - 0.4, 0.3 - 0.2], 0),  # the same to rounding
        ([0.01, 0.011, 0.012], 1),
        ([-0.01, -0.011, -0.012], -1),
        ([0.01, 0.03, 0.05], 0),  # 0.03 ± 0.0497
        ([0.01, 0.025, 0.035], 0),
        ([0.02, 0.03, 0.04], 1),  # 0.03 ± 0.0248
    ],
)
def test_a_sign_only_where_the_interval_lies_on_one_side_of_zero(values, sign):
    assert interval(values).sign == sign
