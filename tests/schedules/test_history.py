"""What a schedule remembers of rounds in which nobody is reached, or nothing arrives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from driving import CENTERS, decide, drive, remember, seen

from fedcode_jax import schedules
from fedcode_jax.schedules import Costs, Exchange, Memory, Moment

AWAY = [False, False]
COSTS = Costs(900.0, 30.0, 700.0, 30.0)
SCHEDULES = {
    "drift": schedules.drift(1, 0.1),
    "budget": schedules.budget(8e-3, 24),
    "step_size": schedules.step_size(1, 4, 4, alpha=0.1),
}


def memory(averaged=False, signal=0.5):
    return Memory(
        jnp.int32(3), jnp.int32(4), jnp.array(averaged), jnp.float32(signal),
        jnp.asarray(2 * CENTERS), jnp.float32(99), Costs(*map(jnp.float32, COSTS)), jnp.float32(5),
    )  # fmt: skip


def after(before, told, down=False, up=False, schedule=SCHEDULES["drift"]):
    exchange = Exchange(jnp.array(down), jnp.array(up))
    return remember(
        schedule, before, Moment(np.int32(7), np.float32(1), np.int32(2)), exchange, told
    )


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize(
    ("averaged", "down", "up"), list(itertools.product([False, True], repeat=3))
)
def test_a_round_to_which_nobody_comes_teaches_nothing(name, averaged, down, up):
    before = memory(averaged)
    # What did not come may be anything, a NaN too.
    told = seen(AWAY, weights=(down, up), client_centers=jnp.full((2, 3), jnp.nan))
    found = after(before, told, down, up, SCHEDULES[name])
    # The server's centers are seen all the same: with an average, they are those to compare with.
    expected = before._replace(reference=jnp.asarray(CENTERS)) if averaged else before
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("sketched", [False, True])
def test_what_arrives_nowhere_leaves_the_signal_and_the_average(sketched):
    sketches = {"sketches": jnp.ones((2, 32))} if sketched else {}
    told = seen([True, True], AWAY, weights=(False, True), **sketches)
    found = after(memory(), told, up=True)
    assert float(found.signal) == 0.5
    assert not found.averaged
    assert int(found.clients_paused) == 4  # the calibration is still to come


@pytest.mark.parametrize(
    ("present", "down", "kept"),
    [
        ([False, False], True, True),  # nobody has it
        ([True, True], False, True),  # it was not sent
        ([True, False], True, False),  # somebody has it: the others get on as if not drawn
        ([True, True], True, False),
    ],
)
def test_an_average_is_held_until_it_has_reached_anybody(present, down, kept):
    told = seen(present, weights=(down, False))
    assert bool(after(memory(averaged=True), told, down=down).averaged) == kept
    # A newcomer's weights are not the average sent out, though they hold it.
    newcomer = seen(present, weights=(np.array([True, False]), False))
    assert bool(after(memory(averaged=True), newcomer).averaged)
    # What clients send in the same round is another average.
    told = seen(present, weights=(down, True))
    assert bool(after(memory(averaged=True), told, down=down, up=True).averaged) == (
        any(present) or kept
    )


def world(empty=(), deaf=(), pace=0.03):
    """Codebooks that spread since the last average; nobody comes in some rounds.

    In those of ``deaf`` everybody is reached and no upload arrives.
    """
    since = [0]

    def tell(t, down, up):
        if t in empty:
            return seen(AWAY, weights=(down, up), bits=(900.0, 700.0))
        since[0] = 0 if down else since[0] + 1
        away = pace * since[0] * CENTERS.std()
        moved = np.stack([CENTERS + away, CENTERS - away])
        bits = (900.0 if down else 30.0, 700.0 if up else 30.0)
        arrived = np.full(2, t not in deaf)
        return seen([True, True], arrived, weights=(down, up), bits=bits, client_centers=moved)

    return tell


@pytest.mark.parametrize("empty", [(6,), (7,), (6, 7), (7, 8, 9), (12, 13), (2, 3)])
def test_drift_goes_on_after_rounds_to_which_nobody_came(empty):
    """As if they had not been, but for what was tried in them."""
    plain = drive(SCHEDULES["drift"], 30, tell=world())
    found = drive(SCHEDULES["drift"], 30 + len(empty), tell=world(empty))

    def moved(rounds):
        kept = [t for t in range(1, 31 + len(empty)) if t not in empty]
        return [kept[t - 1] for t in rounds]

    for before, now in zip(plain, found, strict=True):
        assert [t for t in now if t not in empty] == moved(before)


@pytest.mark.parametrize("name", ["drift", "budget"])
@pytest.mark.parametrize("away", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_every_average_is_sent_in_the_first_round_in_which_anybody_is_there(name, away, seed):
    rng = np.random.default_rng(seed)
    pending, told = [False], world()

    def tell(t, down, up):
        nobody = rng.random() < away
        if pending[0]:
            assert down, f"round {t}: an average waits"
        pending[0] = pending[0] if nobody else bool(up)
        return seen(AWAY, weights=(down, up)) if nobody else told(t, down, up)

    clients = drive(SCHEDULES[name], 60, tell=tell, costs=COSTS)[1]
    assert clients or name == "budget"


def test_step_size_makes_up_for_a_calibration_to_which_nobody_came():
    server, clients = drive(schedules.step_size(0, 4, 4, alpha=0.1), 16, tell=world(empty=(5, 6)))
    assert server == clients == [1, 5, 6, 7, 11, 15]
    _, clients = drive(schedules.step_size(0, 4, 4, alpha=0.1), 16, tell=world(deaf=(5,)))
    assert clients == [1, 5, 6, 10, 14]


def test_a_decision_does_not_depend_on_what_an_empty_round_was_to_hold():
    for name, schedule in SCHEDULES.items():
        for averaged in (False, True):
            before = memory(averaged)
            moment = Moment(np.int32(8), np.float32(1), np.int32(2))
            decided = {
                tuple(
                    map(bool, decide(schedule, after(before, seen(AWAY), *flags, schedule), moment))
                )
                for flags in itertools.product([False, True], repeat=2)
            }
            assert len(decided) == 1, name
