"""A partial batch is filled up with its own samples: nobody sees those of others."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, Plan, run_cohort, train
from fedcode_jax.clients.batches import batch_at, num_steps, shuffles

SIZES, BATCH = (7, 9, 2), 4


@pytest.mark.parametrize("size", [1, 3, 4, 6, 9])
def test_rows_that_fill_up_a_batch_repeat_it_in_turn(size):
    shuffled = shuffles(jax.random.key(0), jnp.int32(size), 9, 2)
    for step in range(int(num_steps(jnp.int32(size), 2, BATCH))):
        positions, mask = map(np.asarray, batch_at(shuffled, jnp.int32(size), step, BATCH))
        count = mask.sum()
        assert mask.tolist() == [row < count for row in range(BATCH)]
        assert positions.tolist() == [positions[row % count] for row in range(BATCH)]


class Linen(nn.Module):
    """Batch norm that does not know of a mask."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(5)(x))
        return nn.Dense(2)(nn.relu(x))


class OfNnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.head = nnx.Linear(3, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(5, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.first(x))))


def data_of(others):
    """The samples of the first client are the same, those of the others are scaled."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(sum(SIZES), 3)).astype(np.float32)
    x[SIZES[0] :] *= others
    return ClientData.from_arrays(
        x,
        rng.integers(0, 2, sum(SIZES)),
        np.zeros(3, np.float32),
        np.ones(3, np.float32),
        tuple(np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])),
    )


@pytest.mark.parametrize("made", [Linen(), OfNnx], ids=["linen", "nnx"])
@pytest.mark.parametrize("axis", ["map", "vmap"])
def test_a_client_does_not_depend_on_the_samples_of_others(made, axis):
    model = models.adapted(made)
    training = LocalTraining(model, optax.sgd(0.1), epochs=2, batch_size=BATCH)
    weights = models.init(model, jax.random.key(0), (3,))
    clients = jnp.arange(len(SIZES))

    @jax.jit
    def cohort(data):
        return run_cohort(
            *(training, Plan(axis, 1 if axis == "map" else 3, "native"), data, clients, weights),
            *(clients, jax.random.split(jax.random.key(1), len(SIZES))),
            begin=lambda weights, row: (Start(weights), True),
            finish=lambda weights, row, work, key: work.trained,
            max_size=max(SIZES),
        ).outputs

    one, other = cohort(data_of(1.0)), cohort(data_of(100.0))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), one, other)
    assert not np.allclose(jax.tree.leaves(one)[0][1], jax.tree.leaves(other)[0][1])


def test_the_averages_of_a_partial_batch_are_those_of_its_samples_repeated():
    model = models.adapted(Linen())
    training = LocalTraining(model, optax.sgd(0.0), epochs=1, batch_size=BATCH)
    weights = models.init(model, jax.random.key(0), (3,))
    data = data_of(1.0)
    found = train(
        *(training, "map", Start(weights), data, jnp.int32(2), jax.random.key(1)), max_size=9
    ).weights["batch_stats"]["BatchNorm_0"]["mean"]
    dense = weights["params"]["Dense_0"]
    x = np.asarray(data.x)[-SIZES[2] :] @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(found, 0.01 * x.mean(axis=0), atol=1e-6)
