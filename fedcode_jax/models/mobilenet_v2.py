"""MobileNetV2 for small images: inverted residuals around depthwise convolutions."""

import flax.linen as nn
from jax import Array

from fedcode_jax.models.layers import (
    Conv,
    Depthwise,
    check_images,
    check_model,
    check_width,
    scaled_channels,
    through,
)
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.norm import norm as normalise
from fedcode_jax.models.pool import global_avg_pool

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and first stride of each stage, for images of 32 x 32."""


class InvertedResidual(nn.Module):
    """Widens with 1 x 1, filters each channel, narrows with 1 x 1; see :func:`mobilenet_v2`.

    Where the image keeps its size the input is added, through a 1 x 1 convolution if the number
    of channels changes.
    """

    features: int
    expansion: int
    stride: int
    norm: str
    lowering: str

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to f32[B, ceil(H / stride), ceil(W / stride), features]."""

        def normed(y: Array, name: str) -> Array:
            return normalise(self.norm, y, name=name, train=train, mask=mask)

        def pointwise(features: int, name: str) -> Conv:
            return Conv(features, 1, use_bias=False, lowering=self.lowering, name=name)

        y = pointwise(self.expansion * x.shape[-1], "expand")(x)
        y = nn.relu(normed(y, "norm1"))
        y = Depthwise(self.stride, "SAME_LOWER", self.lowering, name="depthwise")(y)
        y = nn.relu(normed(y, "norm2"))
        y = normed(pointwise(self.features, "project")(y), "norm3")
        if self.stride > 1:
            return y
        if x.shape[-1] != self.features:
            x = normed(pointwise(self.features, "shortcut")(x), "shortcut_norm")
        return x + y


class MobileNetV2(nn.Module):
    """Seven stages of inverted residuals; see :func:`mobilenet_v2`."""

    num_classes: int
    norm: str = "batch"
    lowering: str = "native"
    width: float = 1.0
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to logits f32[B, num_classes]; mask bool[B] as in ``norm``."""
        check_images("mobilenet_v2", x, smallest=8)

        def stem(x: Array, features: int, window: int, which: str) -> Array:
            name = f"{which}_conv"
            x = Conv(features, window, use_bias=False, lowering=self.lowering, name=name)(x)
            x = normalise(self.norm, x, name=f"{which}_norm", train=train, mask=mask)
            return nn.relu(x)

        x = stem(x, scaled_channels(32, self.width), 3, "first")
        for stage, (expansion, features, blocks, stride) in enumerate(_STAGES, start=1):
            for i in range(blocks):
                block = InvertedResidual(
                    scaled_channels(features, self.width),
                    expansion,
                    stride if i == 0 else 1,
                    self.norm,
                    self.lowering,
                    name=f"stage{stage}_block{i}",
                )
                x = through(block, x, train=train, mask=mask, remat=self.remat)
        x = stem(x, scaled_channels(1280, max(self.width, 1.0)), 1, "last")
        return nn.Dense(self.num_classes, name="head")(global_avg_pool(x))


def mobilenet_v2(
    num_classes: int,
    *,
    norm: str = "batch",
    lowering: str = "native",
    width: float = 1.0,
    remat: bool = False,
) -> MobileNetV2:
    """Builds MobileNetV2 with the strides for CIFAR: the image is halved three times, not five.

    A 3 x 3 convolution of 32 channels; seven stages of inverted residuals on 16, 24, 32, 64, 96,
    160 and 320 channels; a 1 x 1 convolution to 1,280; the average over the image; a dense layer.
    A relu follows every normalisation but the last of a block. As in FedCode's program, and
    otherwise than in the paper, it is not cut off at 6, the first block too has its 1 x 1
    convolution, and a block that keeps the image but not the number of channels has a shortcut
    with a convolution of its own.

    Args:
      num_classes: number of logits.
      norm: ``batch`` or ``group``.
      lowering: of the convolutions, ``native`` or ``patches``.
      width: factor of all channels, each rounded to a multiple of 8; the 1,280 are never fewer.
      remat: whether the values inside a block are made again for its gradient, not kept.

    Returns:
      A flax module for input f32[B, H, W, C] with H, W >= 8; for three channels 2,296,922
      parameters with ten classes and 2,412,212 with a hundred and, with batch norm, 35,088
      running statistics.

    Raises:
      ConfigError: an unknown norm or lowering, or a width that is not positive. Applying it to
        anything but images that are large enough raises DataError.

    References:
      Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks, 2018.

    Example:
      >>> import jax
      >>> from fedcode_jax import models
      >>> def parameters(model):
      ...     first = lambda key: models.init(model, key, (32, 32, 3))
      ...     return models.count_parameters(jax.eval_shape(first, jax.random.key(0)))
      >>> parameters(mobilenet_v2(10)), parameters(mobilenet_v2(10, width=0.5))
      (2296922, 715834)
    """
    check_model(num_classes, lowering)
    check_norm("mobilenet_v2", norm, ("batch", "group"))
    return MobileNetV2(num_classes, norm, lowering, check_width(width), remat)
