"""Which plan is chosen, what it would waste, and what it would cost."""

import math

import numpy as np
import pytest

from fedcode_jax.clients import Plan, expected_waste, plan_choices
from fedcode_jax.clients.choosing import price_of
from fedcode_jax.clients.occupancy import fewest_steps, occupancy, sampled_cohorts
from fedcode_jax.clients.prices import StepPrice
from fedcode_jax.errors import ConfigError


def test_expected_waste_grows_with_the_chunk_and_matches_a_count_by_hand():
    sizes = [320, 32, 32, 32]
    assert expected_waste(sizes, 4, 1, epochs=1, batch_size=32) == 0
    assert expected_waste(sizes, 4, 2, epochs=1, batch_size=32) == pytest.approx(22 / 13 - 1)
    assert expected_waste(sizes, 4, 4, epochs=1, batch_size=32) == pytest.approx(40 / 13 - 1)


def test_expected_waste_of_sampled_cohorts_is_reproducible():
    sizes = np.random.default_rng(0).integers(1, 1000, 100).tolist()
    wastes = [expected_waste(sizes, 10, 4, epochs=2, batch_size=32) for _ in range(2)]
    assert wastes[0] == wastes[1] > 0


def simulated_waste(sizes, plan, cohort, epochs, batch_size, rounds=200):
    """Mean waste of rounds, counted client by client as the plan would run them."""
    rng = np.random.default_rng(99)
    wastes = []
    for _ in range(rounds):
        drawn = rng.permutation(sizes)[:cohort].tolist()
        steps = sorted((epochs * math.ceil(n / batch_size) for n in drawn), reverse=True)
        chunks = [steps[i : i + plan.chunk] for i in range(0, cohort, plan.chunk)]
        loads = [0] * plan.devices
        for i, chunk in enumerate(chunks):  # there and back again
            turn, place = divmod(i, plan.devices)
            loads[plan.devices - 1 - place if turn % 2 else place] += chunk[0]
        wastes.append(max(loads) * plan.devices * min(plan.chunk, cohort) / sum(steps) - 1)
    return np.mean(wastes)


@pytest.mark.parametrize(("chunk", "devices"), [(1, 1), (4, 1), (7, 1), (1, 4), (3, 2), (7, 4)])
def test_expected_waste_is_that_of_many_rounds(chunk, devices):
    sizes = np.random.default_rng(1).lognormal(4, 1, 300).astype(int) + 1
    plan = Plan("vmap", chunk, "native", devices=devices)
    work = {"epochs": 2, "batch_size": 16}
    expected = expected_waste(sizes.tolist(), 25, chunk, devices=devices, **work)
    found = simulated_waste(sizes, plan, 25, **work)
    assert expected == pytest.approx(found, rel=0.25, abs=0.01)
    assert found > 0 or (chunk, devices) == (1, 1)


CONV = {"params": {"conv": {"kernel": np.zeros((3, 3, 1, 4))}}}
DENSE = {"params": {"dense": {"kernel": np.zeros((3, 4))}}}


def choices(backend="cpu", weights=CONV, sizes=(100,) * 10, cohort=10, batch_size=10, **settings):
    work = {"cohort": cohort, "epochs": 1, "batch_size": batch_size}
    return list(plan_choices(backend, weights=weights, sizes=sizes, **work, **settings))


def test_rules_and_alternatives():
    ways = [(plan.client_axis, plan.conv) for plan in choices()]
    assert ways[0] == ("map", "native")
    assert len(set(ways)) == 4
    assert (choices("gpu")[0].client_axis, choices("gpu")[0].conv) == ("vmap", "native")
    assert all(plan.conv == "native" for plan in choices(weights=DENSE))


def test_what_is_not_set_follows_the_rule():
    def first(backend, **settings):
        plan = choices(backend, **settings)[0]
        return plan.client_axis, plan.conv

    assert first("gpu", weights=DENSE) == ("vmap", "native")  # there is nothing to lower
    assert first("gpu", conv="patches") == ("vmap", "patches")
    assert first("gpu", client_axis="map") == ("map", "native")
    assert first("cpu", conv="patches") == ("map", "patches")
    assert first("cpu", client_axis="vmap") == ("vmap", "native")
    assert first("cpu", chunk=4) == ("vmap", "native")


def test_settings_override_the_rules():
    assert {p.client_axis for p in choices(client_axis="vmap", conv="native")} == {"vmap"}
    assert {p.chunk for p in choices(chunk=4)} == {4}
    assert {p.client_axis for p in choices(chunk=4)} == {"vmap"}
    assert choices(precision="bfloat16")[0].precision == "bfloat16"
    with pytest.raises(ConfigError, match=r"execution\.chunk"):
        choices(chunk=4, client_axis="map")


def test_even_clients_run_in_sorted_chunks_as_large_as_there_is_room():
    plan = choices("gpu")[0]
    assert (plan.chunk, plan.layout) == (10, "sorted")
    # two chunks of fifty and no idle place, rather than 64 and 36
    plan = choices("gpu", sizes=(100,) * 100, cohort=100)[0]
    assert (plan.chunk, plan.layout) == (50, "sorted")


def by_waste(sizes, room, **settings):
    """The largest chunk with little padding."""
    return choices("cpu", client_axis="vmap", sizes=sizes, fits=lambda *_: room, **settings)[0]


def test_on_cpu_chunks_are_as_large_as_waste_allows():
    assert by_waste((100,) * 10, 64).chunk == 10
    sizes = (1000,) + (10,) * 9
    assert by_waste(sizes, 64).chunk == 1
    assert expected_waste(sizes, 10, 2, epochs=1, batch_size=10) <= 1


def dirichlet(alpha):
    """Clients of sizes from Dirichlet's distribution, the most ragged that partitions give."""
    shares = np.random.default_rng(2).dirichlet([alpha] * 500)
    return np.maximum(1, np.round(50_000 * shares)).astype(int).tolist()


@pytest.mark.parametrize("room", [64, 20, 7, 3])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 30.0])
def test_a_chunk_that_is_chosen_by_waste_wastes_less_than_a_tenth(alpha, room):
    sizes = dirichlet(alpha)
    plan = by_waste(sizes, room, cohort=50, batch_size=10)
    assert simulated_waste(np.array(sizes), plan, 50, 1, 10) < 0.10
    if alpha == 30 and room <= 20:
        assert plan.chunk > 1


COSTS = {
    "launches": StepPrice(1.0, 0.01, 0.5),
    "both": StepPrice(1.0, 0.2, 0.1),
    "memory": StepPrice(0.1, 1.0, 0.02),
}


@pytest.mark.parametrize("room", [64, 7])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("cost", COSTS)
def test_the_plan_is_among_the_cheapest_and_takes_few_steps(cost, alpha, room):
    sizes, price = dirichlet(alpha), COSTS[cost]
    work = {"sizes": sizes, "cohort": 50, "batch_size": 10, "price": lambda lowering: price}
    plan = choices("gpu", fits=lambda *_: room, **work)[0]
    cohorts = sampled_cohorts(sizes, 50, epochs=1, batch_size=10)
    prices = [
        price_of(cohorts, chunk, layout, 1, price)
        for layout in ("sorted", "packed")
        for chunk in range(1, min(room, 50) + 1)
    ]
    assert plan.chunk <= room
    assert price_of(cohorts, plan.chunk, plan.layout, 1, price) <= 1.15 * min(prices)
    steps = occupancy(cohorts, plan.chunk, plan.layout).sequential
    assert steps.sum() <= 1.3 * fewest_steps(cohorts, plan.chunk).sum()


def test_where_launches_count_more_clients_run_side_by_side():
    work = {"sizes": dirichlet(0.3), "cohort": 50, "batch_size": 10}
    launches, memory = (
        choices("gpu", price=lambda lowering, name=name: COSTS[name], **work)[0]
        for name in ("launches", "memory")
    )
    assert launches.chunk > 2 * memory.chunk


def test_slots_are_taken_where_an_exchange_costs_less_than_padding():
    work = {"sizes": dirichlet(0.3), "cohort": 50, "batch_size": 10, "chunk": 8}
    cheap, dear = (
        choices("gpu", price=lambda lowering, e=e: StepPrice(1.0, 0.1, e), **work)[0]
        for e in (0.01, 10.0)
    )
    assert (cheap.layout, dear.layout) == ("packed", "sorted")
    alone = choices("gpu", price=lambda _: StepPrice(1.0, 0.1, 0.01), may_pack=False, **work)
    assert {plan.layout for plan in alone} == {"sorted"}


def test_a_layout_that_is_set_is_kept():
    ragged = {"sizes": dirichlet(0.3), "cohort": 50}
    for layout in ("sorted", "packed"):
        for target in ("cpu", "gpu", "tpu"):
            assert {p.layout for p in choices(target, layout=layout, **ragged)} == {layout}
    assert {p.client_axis for p in choices("cpu", layout="packed")} == {"vmap"}
    with pytest.raises(ConfigError, match=r"execution\.layout"):
        choices("gpu", layout="packed", client_axis="map")


def test_a_trial_gets_several_sizes():
    for target in ("cpu", "gpu", "tpu"):
        found = choices(target, sizes=dirichlet(0.3), cohort=50, client_axis="vmap")
        if target != "cpu":
            assert len({(p.chunk, p.layout) for p in found if p.conv == "native"}) == 3
    assert {p.chunk for p in choices("cpu") if p.client_axis == "vmap"} == {10, 5}


def test_slots_have_room_of_their_own():
    seen = set()
    work = {"sizes": dirichlet(0.3), "cohort": 50}

    def fits(lowering, layout):
        seen.add(layout)
        return 12 if layout == "sorted" else 1

    plan = choices("gpu", fits=fits, **work)[0]
    assert seen == {"sorted", "packed"}
    assert plan.layout == "sorted"
    assert 1 < plan.chunk <= 12


def test_the_reason_says_how_many_steps_follow_each_other():
    plan = choices("gpu", sizes=(40, 20, 10, 10), cohort=4)[0]
    assert plan.reason == "rule for gpu: about 4 steps follow each other, 4 at least"
    assert choices("gpu", chunk=2)[0].reason.startswith("as set: about")
    assert choices("cpu")[0].reason == "rule for cpu"


def test_idle_places_of_devices_are_not_held_against_a_chunk():
    # ten equal clients on 8 devices take the time of two, one by one or in pairs
    plan = choices("gpu", devices=8)[0]
    assert (plan.chunk, plan.devices) == (2, 8)
    assert choices("gpu", devices=2)[0].chunk == 5


def test_a_chunk_has_room_on_the_device():
    assert choices("gpu", fits=lambda *_: 5)[0].chunk == 5
    # a chunk of three leaves two places of twelve empty, and saves a launch of five
    assert choices("gpu", fits=lambda *_: 3)[0].chunk == 3
    memory = choices("gpu", fits=lambda *_: 3, price=lambda lowering: StepPrice(0.1, 1.0, 1.0))
    assert memory[0].chunk == 2
    assert choices("gpu", fits=lambda *_: 0)[0].chunk == 1
    seen = []
    choices("gpu", fits=lambda lowering, layout: seen.append(lowering) or 2)
    assert set(seen) == {"native", "patches"}  # each lowering has needs of its own


@pytest.mark.parametrize("weights", [CONV, DENSE])
def test_on_cpu_clients_of_a_core_run_one_after_another(weights):
    assert choices(weights=weights, fits=lambda *_: 5)[0].client_axis == "map"
