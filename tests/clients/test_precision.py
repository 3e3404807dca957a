"""Training in bfloat16: half-precision products, float32 master weights."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, Plan, train

SHAPE = (8, 8, 2)
SIZE = 24
QUICK = {"xla_backend_optimization_level": 0}  # these tests spend their time compiling


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return ClientData.from_arrays(
        rng.integers(0, 256, (SIZE, *SHAPE)).astype(np.uint8),
        rng.integers(0, 3, SIZE),
        np.float32([128, 128]),
        np.float32([70, 70]),
        (np.arange(SIZE),),
    )


def make(dtype, lowering="native", rate=1e-5):
    model = models.make("cnn", 3, norm="batch", lowering=lowering)
    return LocalTraining(model, optax.sgd(rate), epochs=2, batch_size=8, dtype=dtype)


def first_weights():
    return models.init(make(jnp.float32).model, jax.random.key(1), SHAPE)


def trained(data, dtype):
    run = jax.jit(
        lambda w: train(
            make(dtype), "map", Start(w), data, jnp.int32(0), jax.random.key(0), max_size=SIZE
        ),
        compiler_options=QUICK,
    )
    return run(first_weights())


@pytest.fixture(scope="module")
def both(data):
    return {dtype: trained(data, dtype) for dtype in (jnp.float32, jnp.bfloat16)}


def test_weights_and_running_statistics_stay_float32(both):
    weights, _, loss = both[jnp.bfloat16]
    assert set(weights) == {"params", "batch_stats"}
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype(jnp.float32)}
    assert loss.dtype == jnp.float32
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)  # noqa: E731
    assert shapes(weights) == shapes(first_weights())


def test_the_loss_is_near_that_of_float32_and_not_the_same(both):
    half, full = both[jnp.bfloat16].loss, both[jnp.float32].loss
    assert float(half) == pytest.approx(float(full), rel=0.02)
    assert float(half) != float(full)


def test_running_statistics_are_near_those_of_float32_and_finer_than_bfloat16(both):
    first = first_weights()["batch_stats"]
    half, full = (both[dtype][0]["batch_stats"] for dtype in (jnp.bfloat16, jnp.float32))
    for start, a, b in zip(*map(jax.tree.leaves, (first, half, full)), strict=True):
        moved = np.abs(np.asarray(b - start)).max()
        np.testing.assert_allclose(a, b, atol=0.05 * moved, rtol=0)
        assert (np.asarray(a) != np.asarray(a.astype(jnp.bfloat16), np.float32)).mean() > 0.5


def test_steps_too_small_for_bfloat16_add_up_in_the_weights(both):
    """Each moves a weight by less than bfloat16 can tell apart; rounded, most would be lost."""
    first = first_weights()["params"]
    half, full = (both[dtype][0]["params"] for dtype in (jnp.bfloat16, jnp.float32))
    kernels = 0
    for start, a, b in zip(*map(jax.tree.leaves, (first, half, full)), strict=True):
        if start.ndim < 2:
            continue
        kernels += 1
        moved, expected = np.asarray(a - start), np.asarray(b - start)
        assert (moved != 0).mean() > 0.95
        unseen = np.asarray(a.astype(jnp.bfloat16) == start.astype(jnp.bfloat16))
        assert unseen.mean() > 0.9  # in bfloat16 they would not have moved at all
        assert np.linalg.norm(moved - expected) < 0.1 * np.linalg.norm(expected)
    assert kernels == 3


@pytest.mark.parametrize("lowering", ["native", "patches"])
def test_gradients_are_finite_float32_and_every_product_is_of_bfloat16(lowering):
    training = make(jnp.bfloat16, lowering)
    weights = first_weights()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *SHAPE)).astype(np.float32), rng.integers(0, 3, 8)

    @jax.jit
    def gradients(params):
        state = {"batch_stats": weights["batch_stats"]}
        mask = jnp.arange(8) < 6
        return jax.grad(training.batch_loss, has_aux=True)(
            params, state, params, x, y, mask, jax.random.key(0)
        )[0]

    lowered = gradients.lower(weights["params"])
    products = re.findall(
        r"stablehlo.(?:convolution|dot_general).* : \((tensor<\S+>), (tensor<\S+>)\)",
        lowered.as_text(),
    )
    assert len(products) >= 8  # three layers and two gradients of each; no dx for the images
    assert all(a.endswith("xbf16>") and b.endswith("xbf16>") for a, b in products)
    for leaf in jax.tree.leaves(lowered.compile(QUICK)(weights["params"])):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_only_the_plan_of_bfloat16_computes_in_it():
    dtypes = {p: Plan("map", 1, "native", p).dtype for p in ("float32", "tf32", "bfloat16")}
    assert dtypes == {"float32": jnp.float32, "tf32": jnp.float32, "bfloat16": jnp.bfloat16}
