"""A model with dropout drops the same values however its clients run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import ClientData, LocalTraining, Plan, run_cohort, train_reference

SIZES = (7, 12)
"""The first client's last batch has one sample of six."""
SHAPE = (6, 6, 2)
QUICK = {"xla_backend_optimization_level": 0}  # these tests spend their time compiling


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return ClientData.from_arrays(
        rng.integers(0, 256, (sum(SIZES), *SHAPE)).astype(np.uint8),
        rng.integers(0, 3, sum(SIZES)),
        np.float32([128, 128]),
        np.float32([70, 70]),
        tuple(np.split(np.arange(sum(SIZES)), [SIZES[0]])),
    )


def make(lowering="native", dropout=True):
    model = models.cnn_pfl(3, lowering=lowering, dropout=dropout)
    return LocalTraining(model, optax.sgd(0.05), epochs=2, batch_size=6)


def cohort(training, plan, data):
    weights = models.init(training.model, jax.random.key(1), SHAPE)
    clients = jnp.arange(2)
    keys = jax.random.split(jax.random.key(2), 2)

    def run(weights):
        return run_cohort(
            training,
            plan,
            data,
            clients,
            weights,
            clients,
            keys,
            begin=lambda weights, row: (Start(weights), True),
            finish=lambda weights, row, work, key: work.trained,
            max_size=max(SIZES),
        )

    return jax.jit(run, compiler_options=QUICK)(weights)


@pytest.fixture(scope="module")
def reference(data):
    training = make("patches")  # the quicker one to compile
    weights = models.init(training.model, jax.random.key(1), SHAPE)
    keys = jax.random.split(jax.random.key(2), 2)
    return [
        train_reference(training, weights, data, c, jax.random.fold_in(keys[c], 0)) for c in (0, 1)
    ]


def distance(found, client, weights):
    differences = jax.tree.map(lambda a, b: np.abs(a[client] - b).max(), found, weights)
    return max(jax.tree.leaves(differences))


@pytest.mark.parametrize(
    "plan",
    [Plan("map", 1, "native"), Plan("vmap", 2, "native"), Plan("vmap", 2, "patches")],
    ids=lambda plan: f"{plan.client_axis}-{plan.conv}",
)
def test_every_plan_gives_what_the_python_loop_gives(plan, data, reference):
    done = cohort(make(plan.conv), plan, data)
    for client, (weights, loss) in enumerate(reference):
        assert distance(done.outputs, client, weights) < 5e-5
        assert float(done.loss[client]) == pytest.approx(loss, abs=1e-5)


def test_without_dropout_something_else_is_trained(data, reference):
    done = cohort(make(dropout=False), Plan("map", 1, "native"), data)
    for client, (weights, _) in enumerate(reference):
        assert distance(done.outputs, client, weights) > 1e-3
