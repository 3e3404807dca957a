"""Which plan is chosen, and what it would waste."""

import math

import numpy as np
import pytest

from fedcode_jax.clients import Plan, expected_waste, plan_choices
from fedcode_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (("map", 4, "native"), "execution.chunk"),
        (("vmap", 0, "native"), "execution.chunk"),
        (("vmpa", 1, "native"), "Did you mean 'vmap'"),
        (("map", 1, "natve"), "Did you mean 'native'"),
        (("map", 1, "native", "float16"), "execution.precision"),
    ],
)
def test_contradictions_are_named(arguments, setting):
    with pytest.raises(ConfigError, match=setting):
        Plan(*arguments)


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
    assert (choices("gpu")[0].client_axis, choices("gpu")[0].conv) == ("vmap", "patches")
    assert all(plan.conv == "native" for plan in choices(weights=DENSE))


def test_what_is_not_set_follows_the_rule():
    def first(backend, **settings):
        plan = choices(backend, **settings)[0]
        return plan.client_axis, plan.conv

    assert first("gpu", weights=DENSE) == ("vmap", "native")  # there is nothing to lower
    assert first("gpu", conv="native") == ("vmap", "native")
    assert first("gpu", client_axis="map") == ("map", "patches")
    assert first("cpu", conv="patches") == ("map", "patches")
    assert first("cpu", client_axis="vmap") == ("vmap", "native")
    assert first("cpu", chunk=4) == ("vmap", "native")


def test_settings_override_the_rules():
    assert [p.client_axis for p in choices(client_axis="vmap", conv="native")] == ["vmap"]
    assert {p.chunk for p in choices(chunk=4)} == {4}
    assert {p.client_axis for p in choices(chunk=4)} == {"vmap"}
    assert choices(precision="bfloat16")[0].precision == "bfloat16"
    with pytest.raises(ConfigError, match=r"execution\.chunk"):
        choices(chunk=4, client_axis="map")


def test_chunks_are_as_large_as_waste_allows():
    assert choices("gpu")[0].chunk == 10
    sizes = (1000,) + (10,) * 9
    plan = choices("gpu", sizes=sizes)[0]
    assert plan.chunk == 1
    assert expected_waste(sizes, 10, 2, epochs=1, batch_size=10) <= 1


@pytest.mark.parametrize("room", [64, 20, 7, 3])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 30.0])
def test_the_chosen_chunk_wastes_less_than_a_tenth_of_the_work(alpha, room):
    """Clients of sizes from Dirichlet's distribution, the most ragged that partitions give."""
    shares = np.random.default_rng(2).dirichlet([alpha] * 500)
    sizes = np.maximum(1, np.round(50_000 * shares)).astype(int)
    settings = {"cohort": 50, "batch_size": 10, "fits": lambda lowering: room}
    plan = choices("gpu", sizes=sizes.tolist(), **settings)[0]
    assert simulated_waste(sizes, plan, 50, 1, 10) < 0.10
    if alpha == 30 and room <= 20:
        assert plan.chunk > 1


def test_idle_places_of_devices_are_not_held_against_a_chunk():
    # ten equal clients on 8 devices take the time of two, one by one or in pairs
    plan = choices("gpu", devices=8)[0]
    assert (plan.chunk, plan.devices) == (2, 8)
    assert choices("gpu", devices=2)[0].chunk == 5


def test_a_chunk_has_room_on_the_device():
    assert choices("gpu", fits=lambda lowering: 5)[0].chunk == 5
    # three clients side by side would leave two places of twelve empty
    assert choices("gpu", fits=lambda lowering: 3)[0].chunk == 2
    assert choices("gpu", fits=lambda lowering: 0)[0].chunk == 1
    seen = []
    choices("gpu", fits=lambda lowering: seen.append(lowering) or 2)
    assert set(seen) == {"native", "patches"}  # each lowering has needs of its own


@pytest.mark.parametrize("weights", [CONV, DENSE])
def test_on_cpu_clients_of_a_core_run_one_after_another(weights):
    assert choices(weights=weights, fits=lambda lowering: 5)[0].client_axis == "map"
