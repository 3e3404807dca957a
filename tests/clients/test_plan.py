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


CONV = {"params": {"conv": {"kernel": np.zeros((3, 3, 1, 4))}}}
DENSE = {"params": {"dense": {"kernel": np.zeros((3, 4))}}}


def choices(backend="cpu", weights=CONV, sizes=(100,) * 10, **settings):
    work = {"weights": weights, "sizes": sizes, "cohort": 10, "epochs": 1, "batch_size": 10}
    return list(plan_choices(backend, **work, **settings))


def test_rules_and_alternatives():
    ways = [(plan.client_axis, plan.conv) for plan in choices()]
    assert ways[0] == ("map", "native")
    assert len(set(ways)) == 4
    assert (choices("gpu")[0].client_axis, choices("gpu")[0].conv) == ("vmap", "patches")
    assert all(plan.conv == "native" for plan in choices(weights=DENSE))


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
