"""Over which rounds a run's accuracy is averaged, for every rule and algorithm."""

import types

import pytest

from fedcode_jax import algorithms, schedules
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.experiment.building import Experiment

ADAPTIVE = ("drift", "budget", "step_size")


def period(algorithm="fedcode", rounds=20, rule="periodic", f1=5, f2=2, every=5):
    changes = {"rounds": rounds, "algorithm.name": algorithm, "schedule.name": rule}
    if algorithm == "fedavg_every":
        changes["algorithm.period"] = every
    if algorithm == "scaffold":
        changes["local.optimizer"] = "sgd"
    if rule not in ("drift", "budget"):
        changes |= {"schedule.server_period": f1, "schedule.client_period": f2}
    config = replace(ExperimentConfig(), changes)
    program = types.SimpleNamespace(
        algorithm=config.algorithm.build(),
        settings=types.SimpleNamespace(schedule=config.schedule.build(rounds=rounds)),
    )
    return Experiment(config, None, None, program, None, None).period


@pytest.mark.parametrize("algorithm", ["fedcode", "skip"])
def test_the_period_is_that_of_the_schedule_in_use(algorithm):
    assert period(algorithm) == 10
    assert period(algorithm, f1=3, f2=6) == 6
    for rule in ADAPTIVE:
        if (algorithm, rule) != ("skip", "drift"):  # which is refused
            assert period(algorithm, rule=rule) is None


@pytest.mark.parametrize("algorithm", sorted(algorithms.registry))
def test_a_period_longer_than_the_run_is_none(algorithm):
    assert period(algorithm, rounds=10) == 10
    assert period(algorithm, rounds=9) is None
    assert period(algorithm, rounds=60, f1=61, f2=1) is None
    assert period(algorithm, rounds=60, f1=1, f2=61) is None
    assert period(algorithm, rounds=60, f1=2**31 - 1, f2=2**31 - 2) is None
    assert period(algorithm, rounds=1, f1=1, f2=1, every=1) == 1


@pytest.mark.parametrize("rule", sorted(schedules.registry))
def test_what_is_compared_is_averaged_over_the_same_rounds(rule):
    own = period(rule=rule)
    assert (own is None) == (rule in ADAPTIVE)
    if rule in ADAPTIVE:
        return  # which FedAvg refuses
    # FedAvg repeats every round, over as many as the run it is held against if that repeats.
    assert period("fedavg", rule=rule) == (own or 1)
    assert period("fedavg_every", rule=rule, every=4) == (20 if own else 4)
