"""Numbers at the edges of float32 and int32: every setting that is one is refused by its name."""

import dataclasses
import math
import typing

import numpy as np
import pytest

from fedcode_jax import algorithms, codebook, schedules
from fedcode_jax.config import ExperimentConfig, replace
from fedcode_jax.errors import ConfigError
from fedcode_jax.limits import LARGEST, SMALLEST, check_probability, check_real, check_whole
from fedcode_jax.network import Network

TOO_MUCH = (math.nan, math.inf, 1e39, 1e308, 10**400)
TOO_LITTLE = (1e-60, 1e-39, 5e-324)
TOO_LONG = (2**31, 2**32, 2**63, 10**400)


def settings_of(kind):
    """The settings of all choices that are numbers of a kind, None aside: how each is chosen."""
    found = {}

    def of(section, prefix, chosen):
        members = getattr(section, "members", {})
        for name in members or [None]:
            member = members.get(name, section)
            here = {**chosen, f"{prefix}name": name} if name else chosen
            for setting, hint in typing.get_type_hints(member).items():
                if setting in member._sections:
                    of(member._sections[setting], f"{prefix}{setting}.", here)
                elif kind in (typing.get_args(hint) or (hint,)) and not setting.startswith("_"):
                    found.setdefault(prefix + setting, here)

    of(ExperimentConfig, "", {})
    return found


FLOATS, WHOLE = settings_of(float), settings_of(int)


def refused(make, setting):
    with pytest.raises(ConfigError) as caught:
        make()
    message = str(caught.value)
    assert message.startswith(f"{setting}: ")
    assert "\n" not in message
    assert len(message) < 200


def test_the_settings_are_found():
    assert {"network.deadline", "local.learning_rate", "partition.alpha"} < set(FLOATS)
    assert {"schedule.alpha", "schedule.budget_mb", "algorithm.up.fraction"} < set(FLOATS)
    assert {"schedule.server_period", "seed", "execution.chunk"} < set(WHOLE)
    assert {"algorithm.period", "algorithm.down.num_clusters", "data.train_size"} < set(WHOLE)


@pytest.mark.parametrize("name", FLOATS)
def test_no_setting_is_a_number_that_float32_lacks(name):
    for value in TOO_MUCH + TOO_LITTLE:
        changes = {**FLOATS[name], name: value}
        refused(lambda changes=changes: replace(ExperimentConfig(), changes), name)


@pytest.mark.parametrize("name", WHOLE)
def test_no_setting_is_a_whole_number_that_int32_lacks(name):
    for value in TOO_LONG[name.endswith("seed") :]:  # a seed is unsigned
        changes = {**WHOLE[name], name: value}
        refused(lambda changes=changes: replace(ExperimentConfig(), changes), name)


def test_arguments_of_the_optimizer_are_such_numbers_too():
    for value in TOO_MUCH + TOO_LITTLE:
        changes = {"local.optimizer": "sgd", "local.optimizer_args": {"momentum": value}}
        name = "local.optimizer_args.momentum"
        refused(lambda changes=changes: replace(ExperimentConfig(), changes), name)


REALS = {
    "schedule.alpha": lambda x: schedules.step_size(alpha=x),
    "schedule.threshold": lambda x: schedules.drift(threshold=x),
    "schedule.budget_mb": lambda x: schedules.budget(x),
    "algorithm.rate_weight": lambda x: algorithms.fedcode(coding="entropy", rate_weight=x),
    **{
        f"network.{field.name}": lambda x, name=field.name: Network(**{name: x})
        for field in dataclasses.fields(Network)
        if field.name not in ("name", "table")
    },
}
WHOLES = {
    "schedule.start": lambda n: schedules.late(start=n),
    "schedule.server_period": lambda n: schedules.periodic(server_period=n),
    "schedule.client_period": lambda n: schedules.warmup(client_period=n),
    "rounds": lambda n: schedules.budget(rounds=n),
    "algorithm.period": lambda n: algorithms.fedavg_every(n),
    "algorithm.block": lambda n: algorithms.fedcode(block=n),
}


@pytest.mark.parametrize("name", list(REALS))
def test_what_is_called_from_python_refuses_the_same(name):
    for value in (*TOO_MUCH, *TOO_LITTLE, True, "0.5"):
        refused(lambda value=value: REALS[name](value), name)


@pytest.mark.parametrize("name", list(WHOLES))
def test_whole_numbers_from_python_likewise(name):
    for value in (*TOO_LONG, 2.5, math.nan, True, "3"):
        refused(lambda value=value: WHOLES[name](value), name)


def test_a_price_is_checked_where_codebooks_are_fitted():
    for value in (math.nan, math.inf, 1e-60, 0.0):
        refused(lambda v=value: codebook.fit_rate(np.ones(3), 2, v), "algorithm.rate_weight")


def test_what_is_left_is_held_by_float32_and_int32():
    rng = np.random.default_rng(0)
    for x in [SMALLEST, LARGEST, 1.0, *np.exp(rng.uniform(-87, 88, 1000))]:
        held = np.float32(check_real("x", x, 0, above=True))
        assert np.isfinite(held)
        assert held == pytest.approx(x, rel=1e-7)
    assert np.int32(check_whole("n", 2**31 - 1, 0)) == 2**31 - 1
    assert check_real("x", 0, 0) == 0
    assert check_real("x", np.float32(0.5), 0) == 0.5
    assert check_whole("n", np.int64(5), 1) == 5


def test_a_probability_that_float32_rounds_to_one_is_none():
    for value in (0.0, 0.5, 1 - 2**-24):
        assert np.float32(check_probability("network.dropout", value)) < 1
    for value in (1 - 1e-9, 1.0, -0.1, math.nan):
        refused(lambda value=value: check_probability("network.dropout", value), "network.dropout")


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.periodic(2**31 - 1, 2**31 - 1, 2**31 - 1),
        schedules.step_size(0, 2**31 - 1, 2**31 - 1, alpha=1e38),
        schedules.warmup(0, 2**31 - 1, 2**31 - 1),
        schedules.drift(threshold=3e38),
        schedules.budget(1e30, 2**31 - 1),
    ],
    ids=["periodic", "step_size", "warmup", "drift", "budget"],
)
def test_the_largest_numbers_that_are_left_do_not_wrap_around(schedule):
    exchange = schedules.Exchange(np.bool_(True), np.bool_(True))
    told = schedules.Seen(*(np.ones(2, bool),) * 4, *(np.ones(2, np.float32),) * 2, *_NO_CENTERS)
    moment = schedules.Moment(np.int32(60), np.float32(1e-3), np.int32(2))
    memory = schedule.remember(schedules.forgotten(), moment, exchange, told)
    assert int(memory.server_paused) > 60
    assert int(memory.clients_paused) > 60


_NO_CENTERS = np.zeros(0, np.float32), np.zeros((2, 0), np.float32)
