"""YAMNet: the MobileNet of AudioSet, for log-mel patches."""

import flax.linen as nn
from jax import Array

from fedcode_jax.models.layers import (
    Conv,
    Depthwise,
    check_images,
    check_model,
    check_width,
    scaled_channels,
)
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.norm import norm as normalise
from fedcode_jax.models.pool import global_avg_pool

_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
"""Channels and stride of the layers after the first."""


class YAMNet(nn.Module):
    """A convolution, thirteen depthwise-separable layers, an average; see :func:`yamnet`."""

    num_classes: int
    norm: str = "batch"
    lowering: str = "native"
    width: float = 1.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, T, F, 1] to logits f32[B, num_classes]; mask bool[B] as in ``norm``."""
        check_images("yamnet", x, smallest=16)

        def normed(x: Array, name: str) -> Array:
            return nn.relu(normalise(self.norm, x, name=name, train=train, mask=mask))

        def conv(features: int, window: int, stride: int, name: str) -> Conv:
            return Conv(features, window, stride, use_bias=False, lowering=self.lowering, name=name)

        x = normed(conv(scaled_channels(32, self.width), 3, 2, "conv")(x), "norm")
        for i, (features, stride) in enumerate(_LAYERS, start=2):
            x = Depthwise(stride, lowering=self.lowering, name=f"layer{i}_depthwise")(x)
            x = normed(x, f"layer{i}_depthwise_norm")
            x = conv(scaled_channels(features, self.width), 1, 1, f"layer{i}_pointwise")(x)
            x = normed(x, f"layer{i}_pointwise_norm")
        return nn.Dense(self.num_classes, name="head")(global_avg_pool(x))


def yamnet(
    num_classes: int, *, norm: str = "batch", lowering: str = "native", width: float = 1.0
) -> YAMNet:
    """Builds YAMNet with weights of its own, for patches such as 96 or 98 frames of 64 mel bands.

    A 3 x 3 convolution of 32 channels with stride 2 and thirteen layers of a depthwise 3 x 3 and
    a 1 x 1 convolution, each of the two with a normalisation and a relu, up to 1,024 channels on
    a 32nd of the patch; the average over it; a dense layer. That is MobileNet (version 1).

    The original normalises without scales and has 521 classes. FedCode's program, whose 3,217,675
    parameters belong to 11 classes, has scales, and so have we. Its epsilon is 1e-4, ours 1e-5.

    Args:
      num_classes: number of logits.
      norm: ``batch`` or ``group``.
      lowering: of the convolutions, ``native`` or ``patches``.
      width: factor of all channels, each rounded to a multiple of 8.

    Returns:
      A flax module for input f32[B, T, F, C] with T, F >= 16; for one channel 3,206,400
      parameters and 1,025 for each class and, with batch norm, 21,888 running statistics.

    Raises:
      ConfigError: an unknown norm or lowering, or a width that is not positive. Applying it to
        anything but patches or images that are large enough raises DataError.

    References:
      Plakal and Ellis, YAMNet, TensorFlow model garden, 2019. Howard et al., MobileNets:
      efficient convolutional neural networks for mobile vision applications, 2017.

    Example:
      >>> import jax
      >>> from fedcode_jax import models
      >>> def first(key):
      ...     return models.init(yamnet(11), key, (98, 64, 1))
      >>> models.count_parameters(jax.eval_shape(first, jax.random.key(0)))
      3217675
    """
    check_model(num_classes, lowering)
    check_norm("yamnet", norm, ("batch", "group"))
    return YAMNet(num_classes, norm, lowering, check_width(width))
