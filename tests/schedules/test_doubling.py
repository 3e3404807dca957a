"""``warmup`` and ``late`` against gaps that a plain loop doubles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import schedules
from fedcode_jax.errors import ConfigError

ROUNDS = 90
PACES = [
    (s, f1, f2) for s in (0, 1, 2, 7) for f1, f2 in [(1, 1), (5, 2), (3, 7), (10, 12), (8, 16)]
]
PACES += [(3, 6, 6), (2, 100, 31), (0, 63, 64), (95, 4, 4)]


def gaps(period):
    """2, 4, 8, ... as long as these are not above the period, and the period ever after."""
    gap = 2
    while gap <= period:
        yield gap
        gap *= 2
    while True:
        yield period


def doubled(start, period, rounds):
    """Every round of the start, and then after gaps that double up to the period."""
    due, following = list(range(1, start + 1)), gaps(period)
    while (at := (due or [start])[-1] + next(following)) <= rounds:
        due.append(at)
    return due


@jax.jit
def exchanges(schedule):
    return jax.vmap(schedule)(jnp.arange(1, ROUNDS + 1))


def rounds_of(schedule):
    """The rounds in which the server and the clients send weights."""
    return tuple((np.flatnonzero(flags) + 1).tolist() for flags in exchanges(schedule))


@pytest.mark.parametrize(("start", "f1", "f2"), PACES)
def test_warmup_doubles_its_gaps_up_to_the_periods(start, f1, f2):
    server, clients = rounds_of(schedules.warmup(start, f1, f2))
    assert server == [t for t in doubled(start, f1, ROUNDS) if t <= ROUNDS]
    # One round ahead, so that the start of the clients is one shorter, as the paper's is.
    ahead = [t - 1 for t in doubled(start, f2, ROUNDS + 1) if 1 <= t - 1 <= ROUNDS]
    assert clients == ahead


@pytest.mark.parametrize(("start", "f1", "f2"), PACES)
def test_late_is_warmup_run_backwards(start, f1, f2):
    server, clients = rounds_of(schedules.late(start, f1, f2, rounds=ROUNDS))
    mirrored = [ROUNDS + 1 - t for t in doubled(start, f2, ROUNDS) if t <= ROUNDS]
    assert clients == mirrored[::-1]
    following = [ROUNDS + 2 - t for t in doubled(start, f1, ROUNDS + 1)]
    assert server == [t for t in following[::-1] if 1 <= t <= ROUNDS]


@pytest.mark.parametrize(("start", "f1", "f2"), PACES)
def test_late_spends_as_many_calibrations_as_warmup(start, f1, f2):
    """What one side of the one sends, the other side of the other does with its period."""
    warm_server, warm_clients = rounds_of(schedules.warmup(start, f1, f2))
    late_server, late_clients = rounds_of(schedules.late(start, f2, f1, rounds=ROUNDS))
    assert len(late_clients) == len(warm_server)
    assert len(late_server) == len(warm_clients)
    same_server, same_clients = rounds_of(schedules.late(start, f1, f2, rounds=ROUNDS))
    assert abs(len(same_clients) - len(warm_clients)) <= 1
    assert abs(len(same_server) - len(warm_server)) <= 1


@pytest.mark.parametrize("start", [0, 1, 4])
@pytest.mark.parametrize("period", [1, 2, 3, 8, 11, 50])
@pytest.mark.parametrize("name", ["warmup", "late"])
def test_the_server_sends_what_the_clients_sent_a_round_before(name, period, start):
    rounds = {"rounds": ROUNDS} if name == "late" else {}
    server, clients = rounds_of(schedules.registry[name](start, period, period, **rounds))
    assert {t - 1 for t in server} - {0} == set(clients) - {ROUNDS}


@pytest.mark.parametrize("name", ["warmup", "late"])
@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ({"server_period": 0}, r"schedule\.server_period"),
        ({"client_period": 1.5}, r"schedule\.client_period"),
        ({"start": -1}, r"schedule\.start"),
    ],
)
def test_bad_paces_are_named(name, wrong, setting):
    with pytest.raises(ConfigError, match=setting):
        schedules.registry[name](**wrong)


def test_late_needs_rounds():
    with pytest.raises(ConfigError, match="rounds: 0"):
        schedules.late(rounds=0)
