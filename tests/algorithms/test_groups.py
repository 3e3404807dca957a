import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.algorithms.groups import Group, Layout, parse
from fedcode_jax.errors import ConfigError

WEIGHTS = {
    "params": {
        "conv1": {"kernel": jnp.arange(12.0).reshape(3, 4), "bias": jnp.arange(4.0)},
        "stage1_norm": {"scale": jnp.ones(2), "bias": jnp.zeros(2)},
    },
    "batch_stats": {"stage1_norm": {"mean": jnp.full(2, 5.0), "var": jnp.full(2, 6.0)}},
}


def test_presets():
    assert parse("everything") == (Group(("kernel", "bias", "norm", "stats"), "coded"),)
    assert parse("kernels") == (
        Group(("kernel",), "coded"),
        Group(("bias", "norm", "stats"), "dense"),
    )


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("kernls", "Did you mean 'kernels'"),
        ("", "not a specification"),
        ("kernel=coded", "'bias' is missing"),
        ("kernel=coded,kernel=dense,bias+norm+stats=dense", "'kernel' is named more than once"),
        ("kernel=codd,bias+norm+stats=dense", "Did you mean 'coded'"),
        ("kernal=coded,bias+norm+stats=dense", "Did you mean 'kernel'"),
        ("kernel=coded,bias+norm+stats", "lacks a policy"),
    ],
)
def test_bad_specifications_are_named(spec, complaint):
    with pytest.raises(ConfigError, match=f"algorithm.groups.*{complaint}"):
        parse(spec)


@pytest.mark.parametrize(
    "spec", ["kernels", "everything", "kernel=coded,bias+norm=coded,stats=local"]
)
def test_join_is_the_inverse_of_split(spec):
    layout = Layout.of(WEIGHTS, parse(spec))
    jax.tree.map(np.testing.assert_array_equal, layout.join(layout.split(WEIGHTS)), WEIGHTS)
    assert hash(layout) == hash(Layout.of(WEIGHTS, parse(spec)))


def test_default_codes_kernels_and_sends_the_rest_as_floats():
    kernels, rest = Layout.of(WEIGHTS, parse("kernels")).split(WEIGHTS)
    np.testing.assert_array_equal(kernels, np.arange(12.0))
    assert sorted(rest.tolist()) == sorted([0, 1, 2, 3, 1, 1, 0, 0, 5, 5, 6, 6])


def test_groups_without_variables_are_left_out():
    layout = Layout.of({"kernel": jnp.ones(3)}, parse("kernels"))
    assert layout.policies == ("coded",)


def test_integer_variables_are_refused_by_name():
    with pytest.raises(ConfigError, match="counter"):
        Layout.of({"counter": jnp.zeros(1, jnp.int32)}, parse("kernels"))
