"""Epsilon against the closed form, and against direct calls of the accountant."""

import math

import dp_accounting
import jax
import numpy as np
import pytest

from fedcode_jax import randomness
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.experiment.accounting import epsilon_of, spent
from fedcode_jax.simulation.opening import most_visits, sample_cohort

DELTA = 1e-5


def delta_of(epsilon, z):
    """Of one Gaussian mechanism, by Balle and Wang."""
    low, high = 1 / (2 * z) - epsilon * z, -1 / (2 * z) - epsilon * z
    normal = lambda x: math.erfc(-x / math.sqrt(2)) / 2  # noqa: E731
    return normal(low) - math.exp(epsilon) * normal(high)


@pytest.mark.parametrize("z", [0.3, 1.0, 4.0])
def test_one_round_of_all_is_the_closed_form_of_the_gaussian_mechanism(z):
    assert delta_of(epsilon_of([z], DELTA), z) == pytest.approx(DELTA, rel=1e-4)


def test_rounds_of_all_compose_as_the_accountant_has_it():
    multipliers = [1.0, 2.0, 2.0]
    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-3)
    for z in multipliers:
        accountant.compose(dp_accounting.GaussianDpEvent(z))
    assert epsilon_of(multipliers, DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=5e-3)


def test_rounds_of_some_are_drawn_without_replacement():
    relation = dp_accounting.NeighboringRelation.REPLACE_ONE
    accountant = dp_accounting.rdp.RdpAccountant(neighboring_relation=relation)
    # Replacing one client by another moves the sum by twice the clip: half the multiplier.
    one = dp_accounting.SampledWithoutReplacementDpEvent(200, 4, dp_accounting.GaussianDpEvent(0.6))
    accountant.compose(one, 30)
    found = epsilon_of([1.2] * 30, DELTA, cohort=4, clients=200)
    assert found == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-9)
    assert found < epsilon_of([1.2] * 30, DELTA)
    # With nearly all of them drawn the bound is that of cohorts that are known.
    assert epsilon_of([1.2] * 3, DELTA, 199, 200) == epsilon_of([1.2] * 3, DELTA)


def config(**changes):
    changes = {"privacy.clip": 1.0, "privacy.noise_multiplier": 2.0, **changes}
    return replace(ExperimentConfig(), {"algorithm.name": "fedavg", **changes})


RECORDS = [{"arrived": n} for n in (10, 10, 5, 0)]


def test_central_noise_counts_rounds_and_promises_nothing_against_the_server():
    found = spent(config(), RECORDS, 10, 10)
    assert found["epsilon"] == epsilon_of([2.0] * 4, DELTA)
    assert found["epsilon_server"] is None
    assert spent(ExperimentConfig(), RECORDS, 10, 10) is None
    assert spent(config(), [], 10, 10)["epsilon"] == 0


def test_distributed_noise_is_that_of_the_sum_of_those_that_arrived():
    noise = {"privacy.noise": "distributed"}
    found = spent(config(**noise), RECORDS, 10, 10)
    assert found["epsilon"] == epsilon_of([2.0, 2.0, math.sqrt(2)], DELTA)
    assert found["epsilon_server"] == epsilon_of([2 / math.sqrt(10)] * 4, DELTA)
    # Compressed, every message stands for itself.
    for changes in ({"algorithm.name": "fedpaq"}, {"algorithm.name": "fedcode"}):
        found = spent(config(**noise, **changes), RECORDS, 10, 10)
        assert found["epsilon"] == found["epsilon_server"]
    assert found["epsilon"] == epsilon_of([2 / math.sqrt(10)] * 4, DELTA)
    half = {"algorithm.groups": "kernel+bias=coded,norm+stats=dense16"}
    found = spent(config(**noise, **half), RECORDS, 10, 10)
    assert found["epsilon"] == found["epsilon_server"]


def test_a_client_counts_as_often_as_it_was_drawn():
    visits = np.zeros(6, int)
    for t in range(1, 8):
        key = jax.random.fold_in(jax.random.fold_in(randomness.key(3), 0), t)
        visits[np.asarray(sample_cohort(key, 6, 2))] += 1
    assert most_visits(3, 7, 6, 2) == visits.max() < 7
    drawn = spent(config(**{"privacy.noise": "distributed", "seed": 3}), [{"arrived": 2}] * 7, 2, 6)
    assert drawn["epsilon_server"] == epsilon_of([2 / math.sqrt(2)] * visits.max(), DELTA)
