"""Parts as a user writes them: each a factory that a name finds, or that makes an object."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from fedcode_jax import network, schedules
from fedcode_jax.algorithms import Objective, updates


class Tiny(nn.Module):
    """Two dense layers; it takes neither train nor mask."""

    num_classes: int
    width: int = 8

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes)(x)


class TinyNnx(nnx.Module):
    """The same in nnx, with a batch norm and dropout."""

    def __init__(self, num_classes, input_shape, width: int = 8, *, rngs):
        self.hidden = nnx.Linear(int(np.prod(input_shape)), width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.hidden(x.reshape(len(x), -1)))
        return self.head(self.dropout(nnx.relu(x)))


def arrays(seed, size: int = 72):
    """Three classes of six features."""
    rng = np.random.default_rng(seed)
    y = np.arange(size) % 3
    x = (rng.normal(size=(size, 6)) + 2 * np.eye(6)[y]).astype(np.float32)
    return {"train_x": x, "train_y": y, "test_x": x[:30], "test_y": y[:30]}


def thirds(labels, num_clients: int = 3):
    """Every third sample to a client."""
    return [np.arange(len(labels))[i::num_clients] for i in range(num_clients)]


def proximal(mu: float = 0.1):
    """FedProx.

    Args:
      mu: Strength of the pull.
    """

    def pull(params, sent):
        pairs = zip(jax.tree.leaves(params), jax.tree.leaves(sent), strict=True)
        return mu / 2 * sum(jnp.sum((new - old) ** 2) for new, old in pairs)

    return updates(objective=Objective(penalty=pull))


def momentum(learning_rate, beta: float = 0.5):
    """Plain momentum."""
    return optax.sgd(learning_rate, momentum=beta)


def focal(logits, labels, gamma=2.0):
    """The focal loss."""
    logs = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]
    return -((1 - jnp.exp(logs)) ** gamma) * logs


def brier(logits, labels):
    """The Brier score."""
    wanted = jax.nn.one_hot(labels, logits.shape[-1])
    return jnp.sum((jax.nn.softmax(logits) - wanted) ** 2, axis=-1)


def every_third(rounds):
    """Weights up in every third round and down in the round after."""
    return schedules.from_rule(
        lambda settings, memory, moment: (moment.number % 3 == 1, moment.number % 3 == 0), period=3
    )


def slow(num_clients, rate: float = 1e5):
    """Equal links of one rate."""
    return network.Network(uplink_mbit=rate / 1e6, downlink_mbit=rate / 1e6)


def noisy(key, x):
    """Samples with a little noise."""
    return x + 0.01 * jax.random.normal(key, x.shape, x.dtype)


def broken(num_classes):
    """Raises."""
    raise ValueError("no such luck\nand more")


def narrow(num_classes):
    """Has a logit too few."""
    return Tiny(num_classes - 1)


class Counting(nn.Module):
    """Keeps a collection that is not known."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        count = self.variable("counters", "calls", jnp.zeros, ())
        count.value += 1
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


def without_default(num_classes, depth):
    """Has a setting without a default."""
    return Tiny(num_classes, depth)


def not_a_model(num_classes):
    """Gives something else."""
    return 3


def not_an_algorithm():
    """Gives something else."""
    return {}


def gap(seed):
    """Data without a sample of class 1."""
    found = arrays(seed)
    found["train_y"] = np.where(found["train_y"] == 1, 2, found["train_y"])
    return found


def sum_loss(logits, labels):
    """One number for the whole batch."""
    return jnp.sum(logits)


def optional(num_classes, width: int | None = 8, kind: str = "plain", flag=None):
    """Settings that may be None, text, or anything plain."""
    return Tiny(num_classes, 7 if flag is True else width or 5)


def schedule_with_a_reserved_parameter(rounds, uplink=3):
    """Which a schedule has beside the rule."""


def data_with_a_reserved_parameter(features=20):
    """Which data have beside the set."""


def growing_data(seed):
    """As many samples as the seed says."""
    return arrays(seed, 72 + 3 * seed)


def branching(rounds):
    """A rule that branches on what is traced."""
    return schedules.from_rule(
        lambda settings, memory, moment: (True, True) if moment.number > 1 else (False, True)
    )


def short(rounds):
    """A rule with too few arguments."""
    return schedules.from_rule(lambda moment: (True, True))


def make_focal(gamma=2.0):
    """Makes a loss, which is one call too many."""
    return focal


def growing(learning_rate):
    """Updates of another shape."""
    return optax.GradientTransformation(
        lambda params: (), lambda grads, state, params: (jax.tree.map(jnp.ravel, grads), state)
    )


def rateless():
    """An optimiser with a learning rate of its own."""
    return optax.sgd(0.1)


def lost_rows(labels):
    """A client without samples."""
    return [np.arange(len(labels)), []]


NUMBER = 3
