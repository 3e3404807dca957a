"""Steps that follow each other, against schedules written out and against what is executed."""

import heapq

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, Plan, dealt, expected_waste, run_cohort
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.occupancy import fewest_steps, occupancy, sampled_cohorts, waste
from fedcode_jax.clients.places import deal


def by_heap(steps, slots):
    """The last end, and at how many moments a client ends, of clients in the order given."""
    free, ends = [0] * slots, set()
    for length in steps:
        if length:
            end = heapq.heappop(free) + length
            heapq.heappush(free, end)
            ends.add(end)
    return max(free), len(ends)


@pytest.mark.parametrize("devices", [1, 3])
@pytest.mark.parametrize("slots", [1, 2, 7, 40])
def test_slots_are_filled_longest_first(slots, devices):
    rng = np.random.default_rng(slots)
    cohorts = np.sort(rng.integers(0, 40, (6, 25)), axis=1)[:, ::-1]
    found = occupancy(cohorts, slots, "packed", devices)
    for cohort, sequential, exchanges in zip(cohorts, *found, strict=True):
        padded = np.append(cohort, np.zeros(devices, int))
        shares = [padded[own] for own in deal(25, devices)]
        expected = [by_heap(share, slots) for share in shares]
        assert (sequential, exchanges) == tuple(np.max(expected, axis=0))


def test_the_fewest_steps_are_reached_by_the_best_of_all_schedules():
    cohorts = np.array([[7, 2, 2, 1], [3, 3, 3, 3], [5, 4, 2, 1]])
    assert fewest_steps(cohorts, 2).tolist() == [7, 6, 6]
    assert fewest_steps(cohorts, 2, devices=2).tolist() == [7, 3, 5]
    assert occupancy(cohorts, 2, "packed").sequential.tolist() == [7, 6, 6]


@pytest.mark.parametrize("layout", ["sorted", "packed"])
def test_no_layout_takes_fewer_steps_than_the_fewest(layout):
    rng = np.random.default_rng(3)
    cohorts = np.sort(rng.lognormal(2, 1.5, (50, 30)).astype(int), axis=1)[:, ::-1]
    for width in (1, 3, 8, 30):
        fewest = fewest_steps(cohorts, width)
        found = occupancy(cohorts, width, layout).sequential
        assert (found >= fewest).all()
        if layout == "packed":  # Graham's bound
            assert (found <= 4 / 3 * fewest + cohorts.max(axis=1)).all()
            assert found.sum() <= 1.1 * fewest.sum()


def ragged(sizes):
    owners = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    x, one = np.ones((sum(sizes), 2), np.float32), np.ones(1, np.float32)
    return ClientData.from_arrays(x, np.zeros(sum(sizes), int), one, one, tuple(owners))


@pytest.mark.parametrize(("layout", "chunk"), [("sorted", 3), ("packed", 3), ("packed", 16)])
def test_what_is_executed_is_what_was_counted_and_another_cohort_is_the_same_program(layout, chunk):
    sizes = np.random.default_rng(0).lognormal(1.5, 1, 30).astype(int)
    training = LocalTraining(models.mlp(2, hidden=()), optax.sgd(0.1), epochs=2, batch_size=3)
    plan = Plan("vmap", chunk, "native", layout=layout)
    weights = models.init(training.model, jax.random.key(0), (2,))
    traces = 0

    @jax.jit
    def run(data, clients):
        nonlocal traces
        traces += 1
        order = dealt(plan, num_steps(data.sizes[clients], 2, 3))
        done = run_cohort(
            *(training, plan, data, clients[order], weights, clients),
            jax.random.split(jax.random.key(0), 12),
            begin=lambda shared, row: (Start(shared), True),
            finish=lambda shared, row, work, key: work.steps,
            max_size=int(sizes.max()),
        )
        return done, order

    data = ragged(sizes)
    for seed in range(4):
        clients = np.random.default_rng(seed).choice(30, 12, replace=False)
        done, order = run(data, jnp.asarray(clients))
        steps = np.asarray(num_steps(sizes[clients], 2, 3))
        expected = occupancy(np.sort(steps)[::-1][None], chunk, layout).sequential[0]
        assert int(done.executed_steps) == expected * min(chunk, 12)
        assert int(done.needed_steps) == steps.sum()
        np.testing.assert_array_equal(done.outputs, steps[order])
    assert traces == 1


def test_waste_of_slots_is_that_of_a_count_by_hand():
    cohorts = np.array([[4, 3, 2, 2, 1]])
    assert waste(cohorts, 2, "packed") == pytest.approx(12 / 12 - 1)
    assert waste(cohorts, 2, "sorted") == pytest.approx(14 / 12 - 1)
    assert waste(cohorts, 9, "packed") == pytest.approx(20 / 12 - 1)
    assert waste(cohorts, 2, "packed", devices=2) == pytest.approx(16 / 12 - 1)


def test_sampled_cohorts_are_reproducible_and_sorted():
    sizes = np.random.default_rng(0).integers(1, 1000, 100).tolist()
    work = {"epochs": 2, "batch_size": 32}
    cohorts = [sampled_cohorts(sizes, 10, **work) for _ in range(2)]
    np.testing.assert_array_equal(*cohorts)
    assert (np.diff(cohorts[0], axis=1) <= 0).all()
    wastes = [expected_waste(sizes, 10, 4, layout="packed", **work) for _ in range(2)]
    assert 0 < wastes[0] == wastes[1] < expected_waste(sizes, 10, 4, **work)
