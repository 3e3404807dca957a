"""Models as a user may write them, twice: in linen and in nnx, with the same names."""

import flax.linen as nn
from flax import nnx


class Plain(nn.Module):
    """Knows neither of training nor of a mask."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(6, name="first")(x.reshape(x.shape[0], -1)))
        return nn.Dense(3, name="head")(x)


class Normed(nn.Module):
    """Batch norm and dropout, told by the name that flax's own layers use."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x, deterministic):
        x = nn.Dense(6, name="first")(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=deterministic, name="norm")(x))
        x = nn.Dropout(self.rate)(x, deterministic=deterministic)
        return nn.Dense(3, name="head")(x)


class NnxNormed(nnx.Module):
    def __init__(self, features=4, rate=0.0, *, rngs):
        self.first = nnx.Linear(features, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x.reshape(x.shape[0], -1))))
        return self.head(self.dropout(x))
