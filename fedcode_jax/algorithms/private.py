"""Client-level differential privacy: what a client does to its change before it is compressed."""

import jax
import jax.numpy as jnp

from fedcode_jax.aggregation.clipping import scales_to
from fedcode_jax.aggregation.gaussian import standard_normal
from fedcode_jax.algorithms.base import Algorithm, Stored, Work
from fedcode_jax.algorithms.groups import kinds_of
from fedcode_jax.algorithms.layout import Layout, Weights
from fedcode_jax.errors import ConfigError
from fedcode_jax.schedules import Exchange
from fedcode_jax.wire import Message

_PURPOSE = 0x6E6F_6973  # among the keys that are folded from that of an upload


def private(algorithm: Algorithm, clip: float, noise: float = 0.0) -> Algorithm:
    """An algorithm whose clients clip what training changed, and may add noise, before they upload.

    Of all groups that are sent, with d = trained - start and x standard normal:

        trained <- start + min(1, clip / |d|) d + noise x

    All that the client uploads, and keeps of these groups, is made of that and of nothing else
    of its training: a codebook, codes and residuals of what was sent before are as private as the
    changes they are made of. Local groups stay as they were trained; they never travel. A change
    that is not finite becomes none.

    Args:
      algorithm: uploads of which are made of ``Work.trained`` and ``Work.start`` alone, beside what
        it keeps of earlier uploads; its clients keep a ``layout``.
      clip: the largest L2 norm of a client's change, over all groups that are sent.
      noise: the standard deviation of the noise of each value.

    Returns:
      The algorithm; ``init`` raises a ConfigError if running statistics would be sent.

    Example:
      >>> from fedcode_jax import aggregation, algorithms, schedules
      >>> plain = algorithms.fedavg(aggregation=aggregation.gaussian(1.0, noise_multiplier=0.5))
      >>> algorithm, sends = private(plain, clip=1.0), schedules.always()(1)
      >>> weights = {"params": {"kernel": jnp.zeros(2)}}
      >>> _, store = algorithm.init(weights, 1)
      >>> stored = jax.tree.map(lambda leaf: leaf[0], store)
      >>> trained = {"params": {"kernel": jnp.array([3.0, 4.0])}}
      >>> work = Work(algorithms.Start(weights), trained, 1, 0.1, 0.0)
      >>> message, _ = algorithm.upload(stored, work, sends, jax.random.key(0))
      >>> [round(x, 3) for x in message.sections[0].values.tolist()]
      [0.6, 0.8]
    """

    def init(weights: Weights, num_clients: int) -> tuple:
        server, store = algorithm.init(weights, num_clients)
        _check(store.layout, weights)
        return server, store

    def upload(
        stored: Stored, work: Work, exchange: Exchange, key: jax.Array
    ) -> tuple[Message, Stored]:
        trained = bounded(stored.layout, work, clip, noise, jax.random.fold_in(key, _PURPOSE))
        return algorithm.upload(stored, work._replace(trained=trained), exchange, key)

    return algorithm._replace(init=init, upload=upload)


def bounded(layout: Layout, work: Work, clip: float, noise: float, key: jax.Array) -> Weights:
    """The trained weights with their change clipped, and noise, in all groups but local ones.

    Args:
      layout: how the groups make up the weights.
      work: of one client.
      clip: as of ``private``.
      noise: likewise.
      key: of the noise.

    Returns:
      The weights.
    """
    ends, starts = layout.split(work.trained), layout.split(work.start.weights)
    sent = [g for g, policy in enumerate(layout.policies) if policy != "local"]
    changes = tuple((ends[g] - starts[g])[None] for g in sent)
    (scale,) = scales_to(changes, clip)
    vectors = list(ends)
    for g, (change,) in zip(sent, changes, strict=True):
        vectors[g] = starts[g] + jnp.where(scale > 0, scale * change, 0)
        if noise > 0:
            vectors[g] += noise * standard_normal(key, g, change.shape)
    return layout.join(vectors)


def _check(layout: Layout, weights: Weights) -> None:
    kinds = kinds_of([path for path, _ in jax.tree_util.tree_flatten_with_path(weights)[0]])
    for members, policy in zip(layout.members, layout.policies, strict=True):
        if policy != "local" and any(kinds[i] == "stats" for i in members):
            raise ConfigError(
                "privacy.clip: the model has running statistics, which would be sent, and noise "
                "can make a variance negative; set model.norm to group or none, or keep them at "
                "the clients: algorithm.groups such as kernel+bias+norm=coded,stats=local"
            )
