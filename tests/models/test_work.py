"""Multiply-adds of an image, counted from the tables of layers in the papers."""

import jax
import jax.numpy as jnp
import pytest

from fedcode_jax import models
from fedcode_jax.bench import work_of


def mobilenet_v2():
    total, side, inputs = 9 * 3 * 32 * 32**2, 32, 32
    for t, c, n, s in [
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for stride in [s] + [1] * (n - 1):
            after = side // stride
            total += side**2 * inputs * t * inputs + after**2 * t * inputs * (9 + c)
            if stride == 1 and inputs != c:
                total += side**2 * inputs * c
            side, inputs = after, c
    return total + side**2 * 320 * 1280 + 1280 * 10


def yamnet():
    total, pixels, inputs = 9 * 32 * 48 * 32, 48 * 32, 32
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    for c, stride in zip((64, 128, 128, 256, 256, *[512] * 6, 1024, 1024), strides, strict=True):
        pixels //= stride**2
        total += pixels * inputs * (9 + c)
        inputs = c
    return total + 1024 * 10


def wrn_16_4():
    total, inputs = 9 * 3 * 16 * 32**2, 16
    for side, c in ((32, 64), (16, 128), (8, 256)):
        total += side**2 * c * (inputs + 9 * inputs + 3 * 9 * c)  # shortcut and four convolutions
        inputs = c
    return total + 256 * 10


LENET5 = 28**2 * 25 * 6 + 10**2 * 25 * 6 * 16 + 400 * 120 + 120 * 84 + 84 * 10
CNN_FEDAVG = 28**2 * 25 * 32 + 14**2 * 25 * 32 * 64 + 3136 * 512 + 512 * 10


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mobilenet_v2", (32, 32, 3), mobilenet_v2()),
        ("yamnet", (96, 64, 1), yamnet()),
        ("wrn_16_4", (32, 32, 3), wrn_16_4()),
        ("lenet5", (28, 28, 1), LENET5),
        ("cnn_fedavg", (28, 28, 1), CNN_FEDAVG),
        ("resnet20", (32, 32, 3), pytest.approx(40.8e6, rel=0.01)),  # as He et al. have it
    ],
)
def test_multiply_adds(name, shape, expected):
    model = models.make(name, 10)
    shapes = jax.eval_shape(lambda k: models.init(model, k, shape), jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    assert work_of(lambda v, x: model.apply(v, x, train=False), shapes, x).forward == expected
