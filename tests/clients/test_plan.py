import numpy as np
import pytest

from fedcode_jax.clients import Plan, expected_waste
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
