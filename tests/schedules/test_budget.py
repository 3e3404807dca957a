"""``budget`` in a loop with messages whose sizes are made up, and may change."""

import math

import numpy as np
import pytest
from driving import drive, seen

from fedcode_jax import schedules
from fedcode_jax.errors import ConfigError
from fedcode_jax.schedules import Costs, rules

DOWN, UP, QUIET = 50_000.0, 40_000.0, 2_000.0  # bits of a weights message each way, of a codebook
COSTS = Costs(DOWN, QUIET, UP, QUIET)


class Ledger:
    """Tells a schedule what was sent, and keeps count of it."""

    def __init__(self, clients, *, away=0.0, lost=0.0, known=True, factor=lambda t: 1.0, seed=0):
        self.rng = np.random.default_rng(seed)
        self.met = np.zeros(clients, bool)
        self.away, self.lost, self.known, self.factor = away, lost, known, factor
        self.bits = 0.0

    def __call__(self, cohort):
        def tell(t, down, up):
            who = self.rng.choice(len(self.met), cohort, replace=False)
            present = self.rng.random(cohort) >= self.away
            arrived = present & (self.rng.random(cohort) >= self.lost)
            whole = down | ~self.met[who]  # a newcomer is sent weights in any case
            self.met[who] |= present
            sizes = np.where(whole, DOWN * self.factor(t), QUIET), UP * self.factor(t) * up or QUIET
            what = seen(present, arrived, weights=(whole, up), bits=sizes)
            self.bits += float(what.server_bits.sum() + what.client_bits.sum())
            return what

        return tell


def spend(budget_bits, rounds, ledger, cohort=4):
    """The rounds in which clients calibrate, and the bits that were sent in all."""
    schedule = schedules.budget(budget_bits / 8e6, rounds)
    everybody = len(ledger.met)
    _, clients = drive(
        schedule, rounds, cohort=cohort, everybody=everybody, tell=ledger(cohort), costs=COSTS
    )
    return clients, ledger.bits


def paid(count, rounds, cohort=4):
    """Bits that so many calibrations take, with everybody's first weights and all codebooks."""
    each = cohort * (UP - QUIET + DOWN - QUIET)
    return count * each + cohort * (2 * rounds * QUIET + DOWN - QUIET)


@pytest.mark.parametrize("rounds", [7, 20, 60])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 7, 13, 20])
def test_as_many_calibrations_as_are_paid_equally_far_apart(count, rounds):
    count = min(count, rounds)
    clients, bits = spend(paid(count + 0.5, rounds), rounds, Ledger(4))
    assert clients == [math.ceil(k * rounds / count) for k in range(1, count + 1)]
    assert bits <= paid(count, rounds)
    # The server need not answer the last one.
    assert bits == pytest.approx(paid(count, rounds) - (count > 0) * 4 * (DOWN - QUIET), rel=1e-6)


def test_a_budget_that_is_exactly_enough_is_enough():
    for count in range(1, 12):
        assert len(spend(paid(count, 30), 30, Ledger(4))[0]) == count
        assert len(spend(paid(count - 0.01, 30), 30, Ledger(4))[0]) == count - 1


def test_more_than_every_round_costs_is_every_round():
    clients, bits = spend(1e12, 10, Ledger(4))
    assert clients == list(range(1, 11))
    assert bits < 1e12


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "world",
    [
        {"away": 0.3},
        {"lost": 0.3},
        {"away": 0.5, "lost": 0.2},
        {"clients": 12},
        {"factor": lambda t: 1 / (1 + 0.01 * t)},  # codes that are learnt to be cheap
        {"factor": lambda t: 1 + t / 60},
        {"factor": lambda t: 1.3 if t % 7 == 0 else 0.9, "away": 0.2},
    ],
)
def test_what_is_spent_stays_within_the_budget_in_any_world(world, seed):
    rounds, budget = 60, paid(9.5, 60)
    ledger = Ledger(**({"clients": 4} | world), seed=seed)
    clients, bits = spend(budget, rounds, ledger)
    assert bits <= budget
    # And it is used: less than two calibrations at the highest price are left.
    assert bits > budget - 2 * 4 * (UP + DOWN) * max(1.0, ledger.factor(60))
    if world.keys() == {"factor"} and ledger.factor(60) < 1:  # what gets cheaper lasts to the end
        assert rounds - clients[-1] < np.diff(clients).max()


def expected(rounds, cohort, clients):
    """Different clients among cohorts, added up round by round."""
    met = 0.0
    for _ in range(rounds):
        met += cohort * (1 - met / clients)
    return met


@pytest.mark.parametrize(("cohort", "clients"), [(4, 4), (4, 7), (10, 100), (10, 1000), (1, 10**5)])
def test_how_many_clients_are_to_be_expected(cohort, clients):
    for rounds in (0, 1, 2, 30, 200):
        found = rules.contacted(rounds, cohort, clients)
        assert found == pytest.approx(expected(rounds, cohort, clients), rel=1e-6)
    draws = [Ledger(clients, seed=seed) for seed in range(20)]
    for draw in draws:
        tell = draw(cohort)
        for t in range(1, 31):
            tell(t, False, False)
    counts = [draw.met.sum() for draw in draws]
    spread = np.std(counts) / math.sqrt(len(draws))
    assert np.mean(counts) == pytest.approx(
        rules.contacted(30, cohort, clients), abs=4 * spread + 0.1
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rounds", [20, 60])
@pytest.mark.parametrize("count", [2.5, 5.5, 9.5])
@pytest.mark.parametrize("clients", [5, 12, 40, 100, 400, 4000])
def test_few_of_many_a_round_spend_the_budget_evenly(clients, rounds, count, seed):
    cohort, each = 4, DOWN - QUIET
    first = expected(rounds, cohort, clients) * each
    quiet = 2 * rounds * cohort * QUIET
    price = cohort * (UP - QUIET + each)
    budget = quiet + first + count * price
    calibrations, bits = spend(budget, rounds, Ledger(clients, seed=seed), cohort)
    # Newcomers come as chance will have it: up to three of them more than there was money for.
    assert budget - 1.5 * price < bits <= budget + 3 * each
    # Where newcomers are many, an answer costs less, and there are more calibrations.
    assert len(calibrations) >= math.floor(count)
    gaps = np.diff([0, *calibrations, rounds])
    assert max(gaps) <= 2.2 * rounds / len(calibrations) + 1


@pytest.mark.parametrize("away", [0.3, 0.6])
@pytest.mark.parametrize("clients", [40, 400])
def test_few_of_many_some_of_them_away_stay_within_the_budget(clients, away):
    first = expected(60, 4, clients) * (DOWN - QUIET)
    budget = 2 * 60 * 4 * QUIET + first + 9.5 * 4 * (UP + DOWN - 2 * QUIET)
    calibrations, bits = spend(budget, 60, Ledger(clients, away=away, lost=0.1))
    assert bits <= budget
    assert len(calibrations) > 9


@pytest.mark.parametrize("budget_mb", [0, -1.0, math.inf, math.nan, True])
def test_impossible_budgets_are_named(budget_mb):
    with pytest.raises(ConfigError, match=r"schedule\.budget_mb"):
        schedules.budget(budget_mb)
