"""``step_size`` and ``drift`` driven through runs, against plain loops."""

import math

import numpy as np
import pytest
from driving import CENTERS, drive, seen

from fedcode_jax import schedules
from fedcode_jax.errors import ConfigError


def qsr(rate, rounds, start, period, alpha):
    """Rounds of weights in which the next one follows max(f, floor((alpha / rate)^2)) later."""
    due, following = [], 0
    for t in range(1, rounds + 1):
        if t <= start or t >= following:
            due.append(t)
            following = t + max(period, math.floor((alpha / rate(t)) ** 2))
    return due


RATES = {
    "constant": lambda t: 0.1,
    "cosine": lambda t: 0.1 * (1 + math.cos(math.pi * (t - 1) / 120)) / 2,
    "step": lambda t: 0.1 if t <= 60 else 0.01 if t <= 90 else 0.001,
}


@pytest.mark.parametrize("rate", list(RATES))
@pytest.mark.parametrize("alpha", [0.0137, 0.173, 0.271])
@pytest.mark.parametrize(("start", "f1", "f2"), [(2, 5, 2), (0, 3, 3), (9, 1, 1), (1, 4, 11)])
def test_gaps_grow_as_the_learning_rate_falls(rate, alpha, start, f1, f2):
    rate = RATES[rate]
    server, clients = drive(schedules.step_size(start, f1, f2, alpha), 120, rate=rate)
    assert server == qsr(rate, 120, start, f1, alpha)
    assert clients == qsr(rate, 120, start - 1, f2, alpha)


def test_a_learning_rate_of_a_third_of_alpha_makes_the_gap_nine():
    for alpha in (3e-3, 0.3, 0.03):
        _, clients = drive(schedules.step_size(0, 1, 1, alpha), 40, rate=lambda t, a=alpha: a / 3)
        assert clients == [1, 10, 19, 28, 37]


def test_a_learning_rate_of_nothing_ends_the_calibrations():
    _, clients = drive(schedules.step_size(0, 1, 1, 0.1), 20, rate=lambda t: 1.0 if t < 4 else 0.0)
    assert clients == [1, 2, 3, 4]


def wandering(pace, measure="codebook", lost=()):
    """Codebooks, or sketches, that spread since the last average by ``pace`` a round."""
    since = [0]

    def tell(t, down, up):
        since[0] = 0 if down else since[0] + 1
        away = pace * since[0]
        arrived = np.full(2, not (up and t in lost))
        scale = CENTERS.std()
        others = {"client_centers": np.stack([CENTERS + away * scale, CENTERS - away * scale])}
        if measure == "sketch":
            ones = np.ones(32, np.float32)
            others["sketches"] = np.stack([ones * (1 + away), ones * (1 - away)])
        return seen([True, True], arrived, weights=(down, up), **others)

    return tell


@pytest.mark.parametrize(
    ("measure", "pace", "threshold", "gap"),
    [
        # Codebooks: pace k after k rounds; a calibration is decided in the round after, and the
        # server answers in the next.
        ("codebook", 0.03, 0.1, 6),  # 0.12 > 0.1 after 4 rounds without an average
        ("codebook", 0.2, 0.1, 3),
        ("sketch", 0.1, 0.06, 5),  # (0.1 k)^2 = 0.09 > 0.06 after 3
        ("sketch", 0.2, 0.15, 4),
    ],
)
def test_drift_calibrates_when_the_signal_exceeds_the_threshold(measure, pace, threshold, gap):
    schedule = schedules.drift(1, threshold)
    server, clients = drive(schedule, 40, tell=wandering(pace, measure))
    # The start: the server in round 1, in which nothing has moved.
    assert server[0] == 1
    assert clients[0] == gap
    assert np.diff(clients).tolist() == [gap] * (len(clients) - 1)
    assert server[1:] == [t + 1 for t in clients if t < 40]


@pytest.mark.parametrize("measure", ["codebook", "sketch"])
def test_without_movement_drift_never_calibrates(measure):
    server, clients = drive(schedules.drift(3, 1e-3), 30, tell=wandering(0.0, measure))
    # The clients send in rounds 1 and 2, and the server answers in rounds 2 and 3.
    assert (server, clients) == ([1, 2, 3], [1, 2])


def test_a_calibration_of_which_nothing_arrived_is_tried_again():
    plain = drive(schedules.drift(1, 0.1), 20, tell=wandering(0.03))[1]
    server, clients = drive(schedules.drift(1, 0.1), 20, tell=wandering(0.03, lost=plain[:1]))
    first = plain[0]
    assert first + 1 not in server
    # Nothing arrived, so that nothing is known but what was before: they have moved.
    assert clients[:2] == [first, first + 1]


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda: schedules.drift(threshold=0.0), r"schedule\.threshold"),
        (lambda: schedules.drift(threshold=math.inf), r"schedule\.threshold"),
        (lambda: schedules.drift(start=-1), r"schedule\.start"),
        (lambda: schedules.step_size(alpha=0.0), r"schedule\.alpha"),
        (lambda: schedules.step_size(alpha=math.nan), r"schedule\.alpha"),
        (lambda: schedules.step_size(server_period=0), r"schedule\.server_period"),
        (lambda: schedules.every(0), r"algorithm\.period"),
    ],
)
def test_bad_numbers_are_named(make, setting):
    with pytest.raises(ConfigError, match=setting):
        make()
