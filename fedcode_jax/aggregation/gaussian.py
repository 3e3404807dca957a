"""The rule of central differential privacy: a sum of clipped changes, and noise."""

import math

import jax
import jax.numpy as jnp

from fedcode_jax.aggregation.base import Aggregation, Combined, Moves, masked, scaled, usable
from fedcode_jax.aggregation.clipping import scales_to
from fedcode_jax.limits import check_real


def gaussian(clip: float = math.inf, noise_multiplier: float = 0.0) -> Aggregation:
    """The Gaussian mechanism: clipped changes, added up over those heard, and noise, over M.

        1 / M (sum_i min(1, c / |v_i|) v_i + z c x),   x standard normal in every coordinate

    with norms over all groups of the model together, and M all clients of the round, whether
    something arrived of them or not. Clients count alike. So one client more or less, with whatever
    change, moves the sum by at most c, and the noise hides it. The rule is heard in every round, as
    a round without noise would tell that nobody was there. A client with a value that is not finite
    counts as one of which nothing arrived.

    Args:
      clip: c, the largest L2 norm of a change; infinite for any, which needs a multiplier of 0.
      noise_multiplier: z, the standard deviation of the noise of the sum, over c.

    Returns:
      The rule; ``random`` if there is noise.

    Raises:
      ConfigError: an argument that is not allowed.

    Source: McMahan et al., arXiv 1710.06963, algorithm 1, with a fixed number of clients.

    Example:
      >>> moves = (jnp.array([[3.0, 4.0], [0.3, 0.4]]),)
      >>> rule = gaussian(clip=1.0)
      >>> [round(x, 3) for x in rule.combine(moves, jnp.ones(2), None)[0].tolist()]
      [0.45, 0.6]
    """
    if clip != math.inf:
        check_real("privacy.clip", clip, 0, above=True)
    # An infinite clip has no noise in proportion to it.
    check_real("privacy.noise_multiplier", noise_multiplier, 0, *([0] if clip == math.inf else []))

    def combine(moves: Moves, num_samples: jax.Array, key: jax.Array | None) -> Combined:
        kept = masked(moves, usable(moves, num_samples))
        if clip != math.inf:
            kept = scaled(kept, scales_to(kept, clip))
        sums = tuple(jnp.sum(values, axis=0) for values in kept)
        if key is not None:
            sums = tuple(
                total + noise_multiplier * clip * standard_normal(key, g, total.shape)
                for g, total in enumerate(sums)
            )
        return tuple(total / num_samples.shape[0] for total in sums)

    return Aggregation(combine, random=noise_multiplier > 0)


def standard_normal(key: jax.Array, group: int, shape: tuple[int, ...]) -> jax.Array:
    """The noise of a group, another one for each."""
    return jax.random.normal(jax.random.fold_in(key, group), shape)
