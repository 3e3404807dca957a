"""Schedules of different rules in one program."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from driving import CENTERS, drive, seen

from fedcode_jax import schedules
from fedcode_jax.schedules import Costs, Exchange, Moment, forgotten

ROUNDS = 24
COSTS = Costs(900.0, 30.0, 700.0, 30.0)
ALL = {
    "periodic": schedules.periodic(2, 5, 3),
    "paired": schedules.paired(2, 5, 3),
    "warmup": schedules.warmup(2, 7, 5),
    "late": schedules.late(2, 7, 5, rounds=ROUNDS),
    "step_size": schedules.step_size(1, 3, 2, alpha=0.25),
    "drift": schedules.drift(2, 0.1),
    "budget": schedules.budget(budget_mb=2e-3, rounds=ROUNDS),
    "always": schedules.always(),
    "never": schedules.never(),
    "every": schedules.every(4),
    "periodic, in time": schedules.periodic(0, 1, 6).with_settings(in_time=np.bool_(True)),
}


def rate(t):
    return 0.1 if t < 12 else 0.05


def seen_of(t, down, up):
    """What a round tells: codebooks that move a little further in each."""
    moved = CENTERS + 0.02 * jnp.full((2, 1), t)
    sizes = jnp.where(down, 900.0, 30.0), jnp.where(up, 700.0, 30.0)
    return seen([True, True], weights=(down, up), bits=sizes, client_centers=moved)


def run(schedule):
    """The whole run as a scan: bool[rounds] of the server and of the clients."""

    def body(memory, at):
        t, learning_rate = at
        moment = Moment(t, learning_rate, jnp.int32(2))
        exchange = schedule.decide(memory, moment)
        memory = schedule.remember(memory, moment, exchange, seen_of(t, *exchange))
        return memory, exchange

    numbers = jnp.arange(1, ROUNDS + 1)
    rates = jnp.asarray([rate(int(t)) for t in range(1, ROUNDS + 1)])
    return jax.lax.scan(body, forgotten(len(CENTERS), COSTS), (numbers, rates))[1]


def listed(exchange):
    return tuple((np.flatnonzero(flags) + 1).tolist() for flags in exchange)


def test_stacked_schedules_decide_as_one_by_one_and_share_a_trace():
    traced = jax.jit(chex.assert_max_traces(run, n=1))
    alone = {name: listed(traced(schedule)) for name, schedule in ALL.items()}
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *ALL.values())
    together = jax.jit(jax.vmap(run))(stacked)
    for i, name in enumerate(ALL):
        assert listed(jax.tree.map(lambda x, i=i: x[i], together)) == alone[name], name
    # They are different schedules, and the ones that adapt did.
    assert len({str(found) for found in alone.values()}) == len(ALL)
    assert alone["drift"][1][1:2] != [2]
    assert 1 < len(alone["budget"][1]) < ROUNDS


def test_a_scan_decides_as_a_plain_loop():
    for name, schedule in ALL.items():
        loop = drive(schedule, ROUNDS, rate=rate, tell=seen_of, costs=COSTS)
        assert listed(jax.jit(run)(schedule)) == loop, name


def test_all_schedules_have_the_same_shapes_and_types():
    first, *others = ALL.values()
    for other in others:
        assert jax.tree.structure(first) == jax.tree.structure(other)
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
            assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)


def test_called_with_a_number_alone_it_decides_as_in_a_first_round():
    for schedule in ALL.values():
        exchange = schedule(1)
        assert isinstance(exchange, Exchange)
        assert [bool(x) for x in exchange] == [
            bool(x) for x in schedule.decide(forgotten(), Moment(1))
        ]


def test_every_rule_that_a_config_can_name_is_here():
    assert set(schedules.registry) <= set(ALL)
    for name, make in schedules.registry.items():
        assert int(make().rule) == int(ALL[name].rule)


def test_what_messages_cost_is_the_mean_of_those_that_were_sent():
    memory = forgotten(0, Costs(9.0, 8.0, 7.0, 6.0))
    schedule = schedules.periodic()
    told = seen(
        [True, True, True, False],
        [True, True, False, False],
        weights=(np.array([True, False, False, True]), np.array([True, True, True, False])),
        bits=(np.array([100, 10, 20, 999]), np.array([50, 70, 3, 999])),
        server_centers=np.zeros(0, np.float32),
        client_centers=np.zeros((4, 0), np.float32),
    )
    exchange = Exchange(jnp.array(False), jnp.array(True))
    after = schedule.remember(memory, Moment(3), exchange, told)
    # An upload that did not arrive whole tells nothing of a size, but it was paid for.
    assert [float(cost) for cost in after.costs] == [100.0, 15.0, 60.0, 6.0]
    assert float(after.spent_bits) == 100 + 10 + 20 + 50 + 70 + 3
