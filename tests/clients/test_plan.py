"""What a plan may be, and where it puts clients."""

import jax
import numpy as np
import pytest

from fedcode_jax.clients import Plan
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


def test_slots_one_after_another_are_a_contradiction_that_is_named():
    with pytest.raises(ConfigError, match=r"execution\.layout: packed .*client_axis map"):
        Plan("map", 1, "native", layout="packed")
    with pytest.raises(ConfigError, match="Did you mean 'packed'"):
        Plan("vmap", 2, "native", layout="paked")


def test_clients_are_dealt_to_slots_one_by_one():
    packed = Plan("vmap", 3, "native", devices=2, layout="packed")
    assert packed.places(5)[..., 0].tolist() == [[0, 3, 4], [1, 2, -1]]
    assert (packed.width(5), packed.width(100)) == (3, 3)
    assert packed.width(3) == 2  # there are two on each device
    chunks = Plan("vmap", 3, "native", devices=2)
    assert chunks.places(5).tolist() == [[[0, 1, 2]], [[3, 4, -1]]]
    assert chunks.width(2) == 2
    assert not np.array_equal(packed.places(6), chunks.places(6))


def test_a_plan_says_whether_it_packs():
    assert "3 side by side, packed" in str(Plan("vmap", 3, "native", layout="packed"))
    assert "packed" not in str(Plan("vmap", 3, "native"))


def test_a_deterministic_plan_says_so_to_the_compiler_of_a_gpu_alone():
    options = {
        target: Plan("vmap", 2, "native", target=target, deterministic=True).compiler_options
        for target in ("cpu", "gpu", "tpu")
    }
    assert options == {"cpu": None, "gpu": {"xla_gpu_deterministic_ops": True}, "tpu": None}
    # The compiler knows the option: of one that it does not it says so.
    lowered = jax.jit(lambda x: x + 1).lower(1.0)
    assert lowered.compile(options["gpu"])(1.0) == 2.0
    with pytest.raises(Exception, match="No such compile option"):
        lowered.compile({"xla_gpu_deterministic": True})
    assert "deterministic" in str(Plan("vmap", 2, "native", deterministic=True))
    assert "deterministic" not in str(Plan("vmap", 2, "native"))
