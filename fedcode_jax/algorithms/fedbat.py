"""FedBAT: clients learn an update of one bit a value, and the size of its steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import compress, randomness
from fedcode_jax.aggregation import Aggregation
from fedcode_jax.algorithms.base import Algorithm, At, Carried, Objective, Start, Work
from fedcode_jax.algorithms.kernels import (
    GROUPS,
    kernels_of,
    layout_of,
    straight_through,
    with_kernels,
)
from fedcode_jax.algorithms.layout import Weights, trainable, with_trainable
from fedcode_jax.algorithms.updates import UpdatesClient, UpdatesServer, updates
from fedcode_jax.limits import check_probability, check_real
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Bits, Dense, Kind, Message, Section

LEAST, MOST = 5e-4, 5e-2
"""Between which a step size is kept."""


class Learnt(NamedTuple):
    """What a client trains: the params of the model, and of each of its G kernels a step size.

    Attributes:
      params: w + m; of what is no kernel, as in FedAvg.
      alpha: f32[G], learnt with them; of its exponential a step size is a multiple.
      first: f32[G], a0, which no gradient reaches; 0 before m is binarised.
    """

    params: Weights
    alpha: jax.Array
    first: jax.Array


# Long: a closure for each verb, each of them short.
@randomness.standard_parts
def fedbat(rho: float = 6.0, phi: float = 0.5, aggregation: Aggregation | None = None) -> Algorithm:
    """FedBAT: binarisation-aware training of the update m of each kernel w.

    A client starts at m = 0 and trains w + m for floor(phi T) of its T steps, at least one. Then
    a0 = mean |m|, and it trains w + S(m), with u uniform in [0, 1), anew in each step:

        a = a0 exp(rho alpha), kept in [5e-4, 5e-2]
        S(m) = a (2 b - 1),   b = floor((m / a + 1) / 2 + u), kept in {0, 1}

    so that E S(m) = m within +-a. The gradient of S is 1 to m within +-a and 0 beyond; to a it is
    (2 b - 1) - m / a within, and the sign of m beyond; alpha, from 0, is learnt by it as m is. It
    sends the bits b, drawn once more, and a. The server adds the mean S(m) to w.

    Biases and norms are trained and averaged as floats, running statistics averaged. The mean is
    by samples, as that of FedAvg. Weight decay acts on w + m, not on m; and on a0 and alpha.

    Args:
      rho: how fast a step size is learnt; the authors try 2 to 10; 0: not at all.
      phi: the share of a client's steps before m is binarised, below 1.
      aggregation: the rule by which the server combines S(m), as of ``updates``; None for the mean.

    Returns:
      The algorithm; up go 1 bit a value and 32 a kernel, down float32. Clients keep nothing.

    Raises:
      ConfigError: a ``rho`` or ``phi`` that is not allowed; a model without kernels.

    Source: Li et al., arXiv 2408.03215, algorithm 1; of S and of a0 as in the authors' program.

    Example:
      >>> algorithm = fedbat()
      >>> server, store = algorithm.init({"params": {"kernel": jnp.ones(3)}}, 10)
      >>> message, _ = algorithm.broadcast(server, algorithm.schedule(1), jax.random.key(0))
      >>> jax.tree.map(jnp.shape, algorithm.receive(store, message, None).weights["params"])
      Learnt(params={'kernel': (3,)}, alpha=(1,), first=(1,))
    """
    check_real("algorithm.rho", rho, 0)
    check_probability("algorithm.phi", phi)
    # Float weights down, and a mean of what sections stand for up.
    plain = updates(compress.sign(), groups=GROUPS, aggregation=aggregation)

    def init(weights: Weights, num_clients: int) -> tuple[UpdatesServer, UpdatesClient]:
        layout_of(weights)
        return plain.init(weights, num_clients)

    def receive(stored: UpdatesClient, message: Message, common: None) -> Start:
        weights = plain.receive(stored, message, common).weights
        params = trainable(weights)
        zeros = jnp.zeros(len(kernels_of(params)))
        return Start(with_trainable(weights, Learnt(params, zeros, zeros)), kernels_of(params))

    def warm(at: At) -> jax.Array:
        return jnp.maximum(jnp.floor(phi * at.steps).astype(jnp.int32), 1)

    def step_sizes(learnt: Learnt) -> jax.Array:
        first = jax.lax.stop_gradient(learnt.first)
        # Far out of range at the ends: but an exponential without them can be infinite, whose
        # gradient is not a number even where it does not count.
        return _within(first * jnp.exp(jnp.clip(rho * learnt.alpha, -30, 30)))

    def view(learnt: Learnt, start: Carried, at: At, key: jax.Array) -> Weights:
        sizes, kernels = step_sizes(learnt), []
        for g, (moved, w) in enumerate(zip(kernels_of(learnt.params), start, strict=True)):
            uniform = jax.random.uniform(jax.random.fold_in(key, g), w.shape)
            binary = w + binarised(moved - w, sizes[g], uniform)
            kernels.append(jnp.where(at.step >= warm(at), binary, moved))
        return with_kernels(learnt.params, kernels)

    def project(learnt: Learnt, start: Carried, at: At) -> Learnt:
        pairs = zip(kernels_of(learnt.params), start, strict=True)
        means = jnp.stack([jnp.mean(jnp.abs(moved - w)) for moved, w in pairs])
        return learnt._replace(first=jnp.where(at.step + 1 == warm(at), means, learnt.first))

    def upload(
        stored: UpdatesClient, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, UpdatesClient]:
        learnt, layout = trainable(work.trained), stored.layout
        sizes, own = step_sizes(learnt), kernels_of(learnt.params)
        sections: list[Section] = []
        for g, (moved, w) in enumerate(zip(own, work.start.carried, strict=True)):
            uniform = jax.random.uniform(jax.random.fold_in(key, g), (w.size,))
            bits = _bits(jnp.ravel(moved - w) / sizes[g], uniform)
            sections.append(Bits(bits.astype(jnp.uint8), sizes[g]))
        vectors = layout.split(with_trainable(work.trained, learnt.params))
        sections += map(Dense, vectors[len(own) :])
        kind = jnp.where(exchange.clients_send_weights, jnp.int32(Kind.UPDATE), Kind.NOTHING)
        return Message(kind, tuple(sections)), stored

    return plain._replace(
        init=init,
        receive=receive,
        upload=upload,
        objective=Objective(view=view, project=project),
    )


def binarised(m: jax.Array, a: jax.Array, uniform: jax.Array) -> jax.Array:
    """S(m), of one kernel, with the gradients to m and to a that ``fedbat`` tells of.

    Args:
      m: f32[...].
      a: f32[], above 0.
      uniform: f32[...], in [0, 1).

    Returns:
      f32[...], each +a or -a.

    Example:
      >>> m, half = jnp.array([0.3, -0.1, -5.0]), jnp.full(3, 0.5)
      >>> binarised(m, jnp.float32(0.5), half).tolist()
      [0.5, -0.5, -0.5]
      >>> jax.grad(lambda m: binarised(m, jnp.float32(0.5), half).sum())(m).tolist()
      [1.0, 1.0, 0.0]
    """
    ratio = m / a
    sign = jax.lax.stop_gradient(jnp.sign(ratio))
    return a * straight_through(
        2 * _bits(ratio, uniform) - 1, jnp.where(jnp.abs(ratio) <= 1, ratio, sign)
    )


def _bits(ratio: jax.Array, uniform: jax.Array) -> jax.Array:
    drawn = jnp.floor(0.5 * (ratio + 1) + uniform)
    return jax.lax.stop_gradient(jnp.clip(drawn, 0, 1))


def _within(sizes: jax.Array) -> jax.Array:
    """Step sizes in their range; at its ends too a gradient passes."""
    inside = (sizes >= LEAST) & (sizes <= MOST)
    return jnp.where(inside, sizes, jax.lax.stop_gradient(jnp.clip(sizes, LEAST, MOST)))
