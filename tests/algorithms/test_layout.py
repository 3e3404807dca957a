import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms.groups import Group, kinds_of, members_of, parse
from fedcode_jax.algorithms.layout import Layout
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
        ("*/head/*=local,kernel=coded", "'bias' is missing"),
        ("*/head/*,params", "lacks a policy"),
        ("*/head/*=locl,params", "Did you mean 'local'"),
        ("params,params", "'kernel' is named more than once"),
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


def test_variables_of_any_name_have_a_kind():
    weights = {
        "params": {
            "w": 0.0,
            "b": 0.0,
            "embed": {"embedding": 0.0},
            "ln": {"scale": 0.0, "bias": 0.0},
            "RMSNorm_0": {"scale": 0.0},
            "own_norm": {"b": 0.0},
            "own": {"gamma": 0.0, "beta": 0.0},
            "layers": {"0": {"kernel": 0.0, "bias": 0.0}, "1": {"lora_a": 0.0}},
            "attention": {"query": {"kernel": 0.0, "bias": 0.0}},
        },
        "batch_stats": {"bn": {"mean": 0.0, "var": 0.0, "bias": 0.0}},
    }
    expected = {
        "params": {
            "w": "kernel",
            "b": "bias",
            "embed": {"embedding": "kernel"},
            "ln": {"scale": "norm", "bias": "norm"},
            "RMSNorm_0": {"scale": "norm"},
            "own_norm": {"b": "norm"},
            "own": {"gamma": "norm", "beta": "norm"},
            "layers": {"0": {"kernel": "kernel", "bias": "bias"}, "1": {"lora_a": "kernel"}},
            "attention": {"query": {"kernel": "kernel", "bias": "bias"}},
        },
        "batch_stats": {"bn": dict.fromkeys(("mean", "var", "bias"), "stats")},
    }
    paths, tree = jax.tree_util.tree_flatten_with_path(weights)
    assert jax.tree.unflatten(tree, kinds_of([path for path, _ in paths])) == expected
    assert kinds_of([(jax.tree_util.DictKey("params"),)]) == ["kernel"]  # one lone array
    assert kinds_of([()]) == ["kernel"]


@pytest.mark.parametrize("name", ["cnn", "resnet8", "mobilenet_v2", "yamnet", "wrn_16_4", "mlp"])
def test_names_say_the_kinds_of_the_registry_s_models(name):
    model = models.make(name, 3)
    shape = (5,) if name == "mlp" else (32, 32, 1)
    first = jax.eval_shape(lambda key: models.init(model, key, shape), jax.random.key(0))
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(first)[0]]

    def by_module(path):
        names = [key.key for key in path]
        if names[0] == "batch_stats":
            return "stats"
        if any("norm" in part for part in names):
            return "norm"
        return "bias" if names[-1] == "bias" else "kernel"

    assert kinds_of(paths) == [by_module(path) for path in paths]


def members(spec, weights=WEIGHTS):
    """The paths of the variables of each group, by its policy."""
    paths, _ = jax.tree_util.tree_flatten_with_path(weights)
    names = ["/".join(key.key for key in path) for path, _ in paths]
    groups = parse(spec)
    found = members_of([path for path, _ in paths], groups)
    return {
        f"{i} {group.policy}": [names[j] for j in mine]
        for i, (group, mine) in enumerate(zip(groups, found, strict=True))
    }


def test_names_count_before_kinds_and_the_first_of_them_counts():
    norm, conv = "stage1_norm", "params/conv1"
    expected = {
        "0 local": [f"{conv}/bias"],
        "1 dense16": [
            *(f"batch_stats/{norm}/mean", f"batch_stats/{norm}/var"),
            *(f"params/{norm}/bias", f"params/{norm}/scale"),
        ],
        "2 coded": [f"{conv}/kernel"],
        "3 dense": [],
    }
    spec = "params/c*1/bias=local, */*_norm/* + */conv1/bia? = dense16, params"
    with pytest.raises(ConfigError, match=r"bia\?' names only variables that are named before it"):
        members(spec)
    assert members(spec.replace(" + */conv1/bia?", "")) == expected


def test_a_group_may_have_names_and_kinds():
    found = members("*/mean+bias=local,kernel+norm+stats=dense")
    assert found["0 local"] == ["batch_stats/stage1_norm/mean", "params/conv1/bias"]
    layout = Layout.of(WEIGHTS, parse("*/mean+bias=local,kernel+norm+stats=dense"))
    assert [vector.size for vector in layout.split(WEIGHTS)] == [6, 18]
    jax.tree.map(np.testing.assert_array_equal, layout.join(layout.split(WEIGHTS)), WEIGHTS)


def test_a_name_that_no_variable_has_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"'\*/head/\*' names no variable.*params/conv1/bias, "):
        Layout.of(WEIGHTS, parse("*/head/*=local,params"))
    with pytest.raises(ConfigError, match="names no variable"):  # the case counts
        Layout.of(WEIGHTS, parse("*/Conv1/*=local,params"))
    many = {"params": {f"block{i}": {"conv": {"kernel": jnp.ones(1)}} for i in range(30)}}
    with pytest.raises(ConfigError, match=r"the model has params/block0/\*, params/block1/\*, "):
        Layout.of(many, parse("*/head/*=local,params"))


@pytest.mark.parametrize("name", models.registry)
def test_the_last_layer_of_the_registry_s_models_is_their_head(name):
    """So that the groups of fedper fit them all."""
    shape = (5,) if name == "mlp" else (32, 32, 3)
    model = models.make(name, 7)
    first = jax.eval_shape(lambda key: models.init(model, key, shape), jax.random.key(0))
    head = members("*/head/*=local,params", first)["0 local"]
    assert head == ["params/head/bias", "params/head/kernel"]
    assert first["params"]["head"]["bias"].shape == (7,)
