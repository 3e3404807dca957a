"""The parts of the residual network against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import models
from fedcode_jax.errors import ConfigError
from fedcode_jax.models.resnet import Block, resnet, shortcut


def numpy_shortcut(x, features, stride):
    b, h, w, c = x.shape
    y = np.zeros((b, -(-h // stride), -(-w // stride), features), x.dtype)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            y[:, i, j, :c] = x[:, i * stride, j * stride]
    return y


@pytest.mark.parametrize(
    ("shape", "features", "stride"),
    [((2, 8, 8, 4), 8, 2), ((2, 7, 5, 4), 8, 2), ((2, 6, 6, 4), 4, 1), ((1, 1, 1, 2), 4, 2)],
    ids=str,
)
def test_the_shortcut_subsamples_and_pads_with_channels_of_zeros(shape, features, stride):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    want = numpy_shortcut(x, features, stride)
    np.testing.assert_array_equal(shortcut(x, features, stride), want)


def test_a_block_that_adds_nothing_is_its_shortcut():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    block = Block(8, 2, "batch", "native")
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    for part in (variables["params"]["conv2"]["kernel"], variables["batch_stats"]["norm2"]["mean"]):
        part[...] = 0
    variables["params"]["norm2"]["bias"][...] = 0
    y = block.apply(variables, x, train=False)
    np.testing.assert_array_equal(y, np.maximum(numpy_shortcut(x, 8, 2), 0))
    assert set(variables["params"]) == {"conv1", "conv2", "norm1", "norm2"}


# the counts of the CIFAR networks with option A, as in He et al., table 6, to the last digit
@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)]
)
def test_parameter_counts_by_depth(depth, parameters):
    variables = jax.eval_shape(
        lambda key: models.init(resnet(depth, 10), key, (32, 32, 3)), jax.random.key(0)
    )
    assert models.count_parameters(variables) == parameters
    if depth == 20:
        assert sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"])) == 1_376


def test_the_stages_halve_the_image_and_double_the_channels():
    model = resnet(8, 10)
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)

    def blocks(x):
        variables = model.init(jax.random.key(0), x, train=False)
        _, seen = model.apply(
            variables, x, train=False, capture_intermediates=lambda m, _: isinstance(m, Block)
        )
        return seen["intermediates"]

    shapes = {name: out["__call__"][0].shape for name, out in jax.eval_shape(blocks, x).items()}
    assert shapes == {
        "stage1_block0": (2, 32, 32, 16),
        "stage2_block0": (2, 16, 16, 32),
        "stage3_block0": (2, 8, 8, 64),
    }


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_other_depths_are_refused(depth):
    with pytest.raises(ConfigError, match=rf"6n \+ 2 .* got {depth}"):
        resnet(depth, 10)
