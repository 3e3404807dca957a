"""Networks of random weights that stay as they are, and the masks over them that are trained."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import randomness
from fedcode_jax.algorithms.base import At, Objective, Start
from fedcode_jax.algorithms.groups import Group, kinds_of
from fedcode_jax.algorithms.layout import Layout, Weights, trainable
from fedcode_jax.compress import random_coding
from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import Bits

EDGE = 0.01
"""How far probabilities stay from 0 and 1, so that scores are finite: that of the authors."""

_MASKED = ("kernel", "bias")
_SCALES = ("scale", "gamma")


def layout_of(weights: Weights) -> Layout:
    """What is masked, of policy coded; what stays, local; running statistics, dense.

    Raises:
      ConfigError: a model with nothing to mask.
    """
    groups = [Group(_MASKED, "coded"), Group(("norm",), "local"), Group(("stats",), "dense")]
    layout = Layout.of(weights, groups)
    if "coded" not in layout.policies:
        raise ConfigError(
            "algorithm.name: the model has neither kernels nor biases, which alone are masked by "
            "this method; use fedavg"
        )
    return layout


def masked_and_stats(layout: Layout, weights: Weights) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The vector f32[n] of what is masked, and that of running statistics if there are any."""
    vectors = layout.split(weights)
    sent = [v for v, policy in zip(vectors, layout.policies, strict=True) if policy == "dense"]
    return vectors[layout.policies.index("coded")], tuple(sent)


def initial(layout: Layout, weights: Weights) -> tuple[jax.Array, jax.Array]:
    """The seed of the frozen weights, and the probabilities to begin with.

    The seed is made of the signs of 32 of the model's initial weights, so that it follows from the
    seed of the run. Probabilities are sigmoid(s) of normal scores s, as of the authors' program.

    Returns:
      u32[], and f32[n].
    """
    largest = max(layout.members[layout.policies.index("coded")], key=lambda i: _size(layout, i))
    signs = jnp.ravel(jax.tree.leaves(weights)[largest])[:32] > 0
    seed = random_coding.from_bits(
        Bits(jnp.pad(signs, (0, 32 - signs.size)).astype(jnp.uint8)), 32
    )[0]
    scores = jax.random.normal(_frozen_key(seed, 1), (masked_size(layout),))
    return seed, jnp.clip(jax.nn.sigmoid(scores), EDGE, 1 - EDGE)


def masked_size(layout: Layout) -> int:
    """n, how many values are masked."""
    return sum(layout.sizes[layout.policies.index("coded")])


def frozen(layout: Layout, seed: jax.Array, scale: float) -> Weights:
    """The weights that stay: signs times scale / sqrt(fan-in), of norms 1 and 0.

    Args:
      layout: of the model.
      seed: u32[], of the signs.
      scale: of the magnitudes.

    Returns:
      All variables of the model; running statistics are 0.

    Example:
      >>> layout = layout_of({"kernel": jnp.zeros((4, 2)), "bias": jnp.zeros(2)})
      >>> found = frozen(layout, jnp.uint32(3), 1.0)
      >>> {name: jnp.unique(jnp.abs(leaf)).tolist() for name, leaf in found.items()}
      {'bias': [0.5], 'kernel': [0.5]}
    """
    places = jax.tree.unflatten(layout.treedef, range(len(layout.shapes)))
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(places)[0]]
    kinds = kinds_of(paths)
    of_kernels = {
        path[:-1]: shape
        for path, kind, shape in zip(paths, kinds, layout.shapes, strict=True)
        if kind == "kernel"
    }
    signs = jax.random.rademacher(_frozen_key(seed, 0), (masked_size(layout),), jnp.float32)
    leaves, place = [], 0
    for path, kind, shape in zip(paths, kinds, layout.shapes, strict=True):
        if kind in _MASKED:
            beside = of_kernels.get(path[:-1], shape) if kind == "bias" else shape
            magnitude = np.float32(scale / math.sqrt(math.prod(beside[:-1])))
            size = math.prod(shape)
            leaves.append(magnitude * signs[place : place + size].reshape(shape))
            place += size
        else:
            leaves.append(jnp.full(shape, float(_name(path) in _SCALES and kind == "norm")))
    return jax.tree.unflatten(layout.treedef, leaves)


def objective() -> Objective:
    """Training of scores s: a mask of Bernoulli(sigmoid(s)) is drawn in every step.

    The gradient goes straight through the draw: that of s is g w theta (1 - theta), g being that of
    the masked weight. ``carried`` is the params of ``frozen``.
    """

    def view(scores: Weights, weights: Weights, at: At, key: jax.Array) -> Weights:
        paths, treedef = jax.tree_util.tree_flatten_with_path(scores)
        masked = [kind in _MASKED for kind in kinds_of([path for path, _ in paths])]
        sizes = [own.size for (_, own), is_masked in zip(paths, masked, strict=True) if is_masked]
        # One draw for all: each of its own would compile for long.
        draws, place, leaves = jax.random.uniform(key, (sum(sizes),)), 0, []
        for (_, own), is_masked, weight in zip(
            paths, masked, jax.tree.leaves(weights), strict=True
        ):
            if is_masked:
                theta = jax.nn.sigmoid(own)
                drawn = draws[place : place + own.size].reshape(own.shape) < theta
                weight = weight * (drawn + (theta - jax.lax.stop_gradient(theta)))
                place += own.size
            leaves.append(weight)
        return jax.tree.unflatten(treedef, leaves)

    return Objective(view=view)


def started(
    layout: Layout, scores: jax.Array, stats: tuple[jax.Array, ...], weights: Weights
) -> Start:
    """What a client begins with: scores in place of what is masked, and the frozen weights."""
    return Start(with_masked(layout, scores, stats, weights), trainable(weights))


def with_masked(
    layout: Layout, values: jax.Array, stats: tuple[jax.Array, ...], weights: Weights
) -> Weights:
    """The frozen weights with other values of what is masked, and of running statistics."""
    others: Any = {"coded": (values,), "dense": stats}
    vectors = zip(layout.policies, layout.split(weights), strict=True)
    return layout.join([others.get(policy, (own,))[0] for policy, own in vectors])


def sampled_model(
    layout: Layout,
    probabilities: jax.Array,
    stats: tuple[jax.Array, ...],
    weights: Weights,
    seed: jax.Array,
) -> Weights:
    """The frozen weights under one mask, which is drawn of the probabilities by a seed."""
    own, _ = masked_and_stats(layout, weights)
    mask = drawn(randomness.key(seed), probabilities)
    return with_masked(layout, own * mask, stats, weights)


def drawn(key: jax.Array, probabilities: jax.Array) -> jax.Array:
    """A mask u8[n] of independent ones, each of its probability."""
    ones = jax.random.uniform(key, probabilities.shape) < probabilities
    return ones.astype(jnp.uint8)


def logit(probabilities: Any) -> jax.Array:
    """The scores whose sigmoid they are."""
    return jnp.log(probabilities) - jnp.log1p(-probabilities)


def logit_table(probabilities: np.ndarray) -> np.ndarray:
    """Their scores f32[k], of NumPy, so that all ends have the same ones bitwise."""
    wide = probabilities.astype(np.float64)
    return (np.log(wide) - np.log1p(-wide)).astype(np.float32)


def clear_of_edges(shares: Any) -> Any:
    """Shares of ones, from 0 to 1, as probabilities from EDGE to 1 - EDGE."""
    return EDGE + (1 - 2 * EDGE) * shares


def grid(steps: int) -> np.ndarray:
    """The probabilities f32[steps + 1] of 0 .. ``steps`` ones in so many masks."""
    return clear_of_edges(np.arange(steps + 1) / steps).astype(np.float32)


def seeds(*numbers: jax.Array) -> Bits:
    """A section of u32[] numbers, of 32 bits each."""
    return random_coding.in_bits(jnp.stack(numbers), 32)


def _name(path: tuple) -> str:
    return str(getattr(path[-1], "key", getattr(path[-1], "name", ""))).lower()


def _frozen_key(seed: jax.Array, purpose: int) -> jax.Array:
    return jax.random.fold_in(randomness.key(seed), purpose)


def _size(layout: Layout, leaf: int) -> int:
    return math.prod(layout.shapes[leaf])
