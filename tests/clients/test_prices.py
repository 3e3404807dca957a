"""What a step is said to cost, against kernels that XLA:GPU made of it."""

import jax
import pytest

from fedcode_jax import models
from fedcode_jax.clients import LocalTraining, optimizer, step_price
from fedcode_jax.clients.prices import _MACHINES
from fedcode_jax.errors import ConfigError


def price(name, shape, target="gpu", lowering="patches", batch=32):
    model = models.make(name, 10, lowering=lowering)
    training = LocalTraining(model, optimizer("adam", 1e-3), epochs=1, batch_size=batch)
    weights = jax.eval_shape(lambda key: models.init(model, key, shape), jax.random.key(0))
    return step_price(training, weights, shape, target)


@pytest.mark.parametrize(
    ("name", "shape", "kernels"),
    [("mlp", (8, 8, 1), 15), ("cnn", (8, 8, 1), 28), ("resnet20", (32, 32, 3), 283)],
)
def test_kernels_are_counted_about_as_the_compiler_makes_them(name, shape, kernels):
    found = (price(name, shape).launch - _MACHINES["gpu"].turn) / _MACHINES["gpu"].kernel
    assert found == pytest.approx(kernels, rel=0.5)  # JAX 0.7 traces a few more


def test_a_client_of_resnet_moves_what_its_activations_come_to():
    # 0.2 M values an image, some 14 passes in float32, and with patches some 36 more
    passes = 32 * 0.2e6 * 4
    native, patches = (
        price("resnet20", (32, 32, 3), lowering=lowering).client * _MACHINES["gpu"].bandwidth
        for lowering in ("native", "patches")
    )
    assert 7 * passes < native < 20 * passes
    assert 20 * passes < patches < 50 * passes


def test_launches_do_not_depend_on_the_batch_and_clients_do():
    small, large = (price("cnn", (8, 8, 1), batch=batch) for batch in (8, 64))
    assert small.launch == large.launch
    assert 3 * small.client < large.client


def test_large_images_are_dearer_for_each_client_and_on_a_tpu():
    small, large = price("cnn", (8, 8, 1)), price("cnn", (32, 32, 3))
    assert small.client / small.launch < 0.1 < large.client / large.launch
    tpu = price("cnn", (32, 32, 3), "tpu")
    assert tpu.client / tpu.launch > large.client / large.launch


def test_there_is_no_price_for_a_cpu():
    with pytest.raises(ConfigError, match="target"):
        price("mlp", (8, 8, 1), "cpu")
