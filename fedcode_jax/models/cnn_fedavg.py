"""The CNN of the paper that introduced federated averaging."""

import flax.linen as nn
from jax import Array

from fedcode_jax.models.layers import Conv, check_images, check_model
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.pool import max_pool


class FedAvgCNN(nn.Module):
    """Two convolutions with pooling, a wide dense layer; see :func:`cnn_fedavg`."""

    num_classes: int
    lowering: str = "native"

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to logits f32[B, num_classes]; no sample depends on another."""
        del train, mask
        check_images("cnn_fedavg", x, smallest=4)
        for i, features in enumerate((32, 64)):
            layer = Conv(features, 5, lowering=self.lowering, name=f"conv{i + 1}")
            x = max_pool(nn.relu(layer(x)), 2)
        dense = nn.Dense(512, kernel_init=nn.initializers.he_normal(), name="dense")
        x = nn.relu(dense(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes, name="head")(x)


def cnn_fedavg(num_classes: int, *, norm: str = "none", lowering: str = "native") -> FedAvgCNN:
    """Builds the CNN with which McMahan et al. trained MNIST.

    A 5 x 5 convolution of 32 channels, a 2 x 2 max-pooling, the same with 64 channels, a dense
    layer of 512, a dense layer; relu after the convolutions and the first dense layer.

    Args:
      num_classes: number of logits.
      norm: only ``none``.
      lowering: of the convolutions, ``native`` or ``patches``.

    Returns:
      A flax module for input f32[B, H, W, C] with H, W >= 4; 1,663,370 parameters for images of
      28 x 28 x 1 and ten classes.

    Raises:
      ConfigError: a norm other than ``none``, or an unknown lowering. Applying it to anything
        but images that are large enough raises DataError.

    References:
      McMahan et al., Communication-efficient learning of deep networks from decentralized data,
      2017, section 3.

    Example:
      >>> import jax
      >>> from fedcode_jax import models
      >>> first = lambda key: models.init(cnn_fedavg(10), key, (28, 28, 1))
      >>> models.count_parameters(jax.eval_shape(first, jax.random.key(0)))
      1663370
    """
    check_model(num_classes, lowering)
    check_norm("cnn_fedavg", norm, ("none",))
    return FedAvgCNN(num_classes, lowering)
