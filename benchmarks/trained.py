"""Trained weights to measure codebooks on, made here: a codebook of random numbers says little.

    python benchmarks/trained.py [names ...]

Networks of the package, trained for some steps of SGD with momentum on scikit-learn's digits,
enlarged to 32 x 32 x 3. The result is kept in benchmarks/.cache/.
"""

import os
import pathlib
import sys
import tempfile
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from fedcode_jax import models
from fedcode_jax.models.layers import Conv
from fedcode_jax.models.norm import norm as normalise
from fedcode_jax.models.resnet import Block

CACHE = pathlib.Path(__file__).parent / ".cache"

STEPS = {"resnet20": 120, "wide-resnet20": 60}
"""Names, with the number of training steps of 32 images."""


class WideResNet20(nn.Module):
    """ResNet-20 of three times the width: 2.4 million values, about as many as MobileNetV2."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Maps f32[B, H, W, 3] to logits f32[B, num_classes]."""
        x = Conv(48, use_bias=False, lowering="native", name="conv")(x)
        x = nn.relu(normalise("batch", x, name="norm", train=train, mask=mask))
        for stage, features in enumerate((48, 96, 192)):
            for i in range(3):
                stride = 2 if stage > 0 and i == 0 else 1
                name = f"stage{stage + 1}_block{i}"
                x = Block(features, stride, "batch", "native", name=name)(x, train=train, mask=mask)
        return nn.Dense(self.num_classes, name="head")(models.global_avg_pool(x))


def weights(name: str) -> dict[str, Any]:
    """The weights of a trained network, from the cache or trained now (one to three minutes).

    Args:
      name: ``resnet20`` (271,098 values) or ``wide-resnet20`` (2,416,858).

    Returns:
      ``all`` f32[n], every variable, batch-norm scales, biases and statistics included;
      ``kernels`` f32[m], the kernels alone; ``layers``, name and size of each kernel in their
      order.
    """
    path = CACHE / f"{name}-{STEPS[name]}.npz"
    if not path.exists():
        flat = {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(_train(name))
        }
        CACHE.mkdir(exist_ok=True)
        # Two scripts may train at once: each writes a file of its own, and renames it.
        with tempfile.NamedTemporaryFile(dir=CACHE, suffix=".npz", delete=False) as file:
            np.savez(file, **flat)
        os.replace(file.name, path)
    with np.load(path) as stored:
        leaves = {key: stored[key] for key in stored.files}
    kernels = {key: leaf for key, leaf in leaves.items() if key.endswith("kernel")}
    return {
        "all": np.concatenate([leaf.ravel() for leaf in leaves.values()]),
        "kernels": np.concatenate([leaf.ravel() for leaf in kernels.values()]),
        "layers": [(key, leaf.size) for key, leaf in kernels.items()],
    }


def _train(name: str) -> Any:
    """The variables after training; the same on every call."""
    images, labels = load_digits(return_X_y=True)
    images = np.kron(images.reshape(-1, 8, 8) / 8 - 1, np.ones((4, 4)))[..., None]
    images, labels = jnp.asarray(images.repeat(3, 3), jnp.float32), jnp.asarray(labels)
    model = models.resnet20(10) if name == "resnet20" else WideResNet20(10)
    variables = models.init(model, jax.random.key(0), (32, 32, 3))
    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.05, momentum=0.9))

    def loss(params, rest, x, y):
        logits, rest = model.apply({"params": params, **rest}, x, train=True, mutable=list(rest))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), rest

    @jax.jit
    def step(params, rest, momentum, key):
        picked = jax.random.choice(key, labels.size, (32,), replace=False)
        grads, rest = jax.grad(loss, has_aux=True)(params, rest, images[picked], labels[picked])
        updates, momentum = optimizer.update(grads, momentum, params)
        return optax.apply_updates(params, updates), rest, momentum

    params = variables["params"]
    rest = {key: leaf for key, leaf in variables.items() if key != "params"}
    momentum = optimizer.init(params)
    for key in jax.random.split(jax.random.key(1), STEPS[name]):
        params, rest, momentum = step(params, rest, momentum, key)
    return {"params": params, **rest}


if __name__ == "__main__":
    for network in sys.argv[1:] or STEPS:
        made = weights(network)
        print(f"{network:15s} {made['all'].size:9,} values, {made['kernels'].size:9,} in kernels")
