"""A small test set, its users, the class shares of three clients, and a model for it."""

import jax
import numpy as np

from fedcode_jax import models
from fedcode_jax.simulation import EvaluationData

CLASSES, SAMPLES = 4, 23
rng = np.random.default_rng(3)
X = rng.normal(size=(SAMPLES, 5)).astype(np.float32)
Y = rng.integers(0, CLASSES - 1, SAMPLES)  # the last class does not occur
USERS = rng.choice([-7, 3, 4, 90], SAMPLES)
SHARES = np.array([[0.5, 0.5, 0, 0], [0, 0.25, 0.25, 0.5], [0, 0, 0, 1]])
MODEL = models.make("mlp", CLASSES)


def three_models():
    """As many as there are clients."""
    keys = jax.random.split(jax.random.key(0), 3)
    return jax.vmap(lambda key: models.init(MODEL, key, (5,)))(keys)


def data_of(**options):
    """In batches of 5: the last one has two rows that do not count."""
    mean, std = np.zeros(5, np.float32), np.ones(5, np.float32)
    return EvaluationData.from_arrays(X, Y, mean, std, batch_size=5, **options)
