import chex
import jax
import jax.numpy as jnp
import pytest

from fedcode_jax import schedules
from fedcode_jax.errors import ConfigError


@pytest.mark.parametrize(("start", "f1", "f2"), [(2, 5, 2), (0, 3, 3), (10, 10, 5), (1, 1, 1)])
def test_periodic_is_the_published_rule(start, f1, f2):
    schedule = schedules.periodic(start, f1, f2)
    for t in range(1, 60):
        exchange = schedule(t)
        assert bool(exchange.server_sends_weights) == (t <= start or t % f1 == 0)
        assert bool(exchange.clients_send_weights) == (t < start or t % f2 == 0)


def test_counts_of_the_default_over_100_rounds():
    exchange = jax.vmap(schedules.periodic())(jnp.arange(1, 101))
    assert int(exchange.server_sends_weights.sum()) == 22
    assert int(exchange.clients_send_weights.sum()) == 51


@pytest.mark.parametrize(
    "schedule", [schedules.periodic(), schedules.always(), schedules.never(), schedules.every(3)]
)
def test_every_schedule_is_traceable_and_repeats_after_its_period(schedule):
    traced = jax.jit(chex.assert_max_traces(schedule.__call__, n=1))
    for t in range(3, 12):
        now, later = traced(jnp.int32(t)), traced(jnp.int32(t + schedule.period))
        assert [bool(x) for x in now] == [bool(x) for x in later]
        assert [bool(x) for x in now] == [bool(x) for x in schedule(t)]


def test_rules_that_go_by_what_they_see_have_no_period():
    """Those and no others: all that a run can name, and the algorithms' own."""
    adaptive = {"step_size", "drift", "budget"}
    for name, make in schedules.registry.items():
        assert (make().period is None) == (name in adaptive)
    assert schedules.periodic(2, 6, 4).period == 12
    assert (schedules.always().period, schedules.never().period) == (1, 1)
    assert schedules.every(5).period == 5


def test_every_sends_up_and_then_down():
    rounds = range(1, 8)
    assert [t for t in rounds if schedules.every(3)(t).clients_send_weights] == [3, 6]
    assert [t for t in rounds if schedules.every(3)(t).server_sends_weights] == [1, 4, 7]


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ({"server_period": 0}, "schedule.server_period"),
        ({"client_period": 0}, "schedule.client_period"),
        ({"client_period": 2.5}, "schedule.client_period"),
        ({"start": -1}, "schedule.start"),
        ({"start": True}, "schedule.start"),
    ],
)
def test_bad_periods_are_named(arguments, setting):
    with pytest.raises(ConfigError, match=setting):
        schedules.periodic(**arguments)


@pytest.mark.parametrize(("start", "f"), [(0, 1), (2, 5), (3, 4)])
def test_paired_has_the_server_follow_the_clients_by_a_round(start, f):
    schedule = schedules.paired(start, f, f)
    for t in range(1, 40):
        exchange = schedule(t)
        assert bool(exchange.clients_send_weights) == (t < start or t % f == 0)
        assert bool(exchange.server_sends_weights) == (t <= start or t % f == 1 % f)
