"""Wide residual networks: few layers, many channels, normalised before each convolution."""

import flax.linen as nn
from jax import Array

from fedcode_jax.models.layers import Conv, check_images, check_model, through
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.norm import norm as normalise
from fedcode_jax.models.pool import global_avg_pool


class WideBlock(nn.Module):
    """shortcut(x) + conv(relu(norm(conv(relu(norm(x)))))); see :func:`wrn_16_4`.

    Where the number of channels changes, the shortcut is a 1 x 1 convolution of relu(norm(x)).
    """

    features: int
    stride: int
    norm: str
    lowering: str

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to f32[B, ceil(H / stride), ceil(W / stride), features]."""

        def conv(window: int, stride: int, name: str) -> Conv:
            return Conv(
                self.features,
                window,
                stride,
                padding="SAME_LOWER",  # windows centred on the pixels of the shortcut
                use_bias=False,
                lowering=self.lowering,
                name=name,
            )

        y = nn.relu(normalise(self.norm, x, name="norm1", train=train, mask=mask))
        if x.shape[-1] != self.features:
            x = conv(1, self.stride, "shortcut")(y)
        y = conv(3, self.stride, "conv1")(y)
        y = nn.relu(normalise(self.norm, y, name="norm2", train=train, mask=mask))
        return x + conv(3, 1, "conv2")(y)


class WideResNet(nn.Module):
    """Three stages of blocks on k times 16, 32 and 64 channels; see :func:`wrn_16_4`."""

    num_classes: int
    blocks: int
    widen: int
    norm: str = "batch"
    lowering: str = "native"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to logits f32[B, num_classes]; mask bool[B] as in ``norm``."""
        check_images(f"wrn_{6 * self.blocks + 4}_{self.widen}", x, smallest=4)
        x = Conv(16, use_bias=False, lowering=self.lowering, name="conv")(x)
        for stage, features in enumerate((16, 32, 64)):
            for i in range(self.blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                name = f"stage{stage + 1}_block{i}"
                block = WideBlock(
                    self.widen * features, stride, self.norm, self.lowering, name=name
                )
                x = through(block, x, train=train, mask=mask, remat=self.remat)
        x = nn.relu(normalise(self.norm, x, name="norm", train=train, mask=mask))
        return nn.Dense(self.num_classes, name="head")(global_avg_pool(x))


def wrn_16_4(
    num_classes: int, *, norm: str = "batch", lowering: str = "native", remat: bool = False
) -> WideResNet:
    """Builds the wide residual network of 16 layers and four times the channels, WRN-16-4.

    A 3 x 3 convolution of 16 channels; three stages of two blocks on 64, 128 and 256 channels,
    the second and third beginning with stride 2; a normalisation, the average over the image, a
    dense layer. There is no dropout between the convolutions.

    Args:
      num_classes: number of logits.
      norm: ``batch`` or ``group``.
      lowering: of the convolutions, ``native`` or ``patches``.
      remat: whether the values inside a block are made again for its gradient, not kept.

    Returns:
      A flax module for input f32[B, H, W, C] with H, W >= 4; 2,748,890 parameters and, with batch
      norm, 3,616 running statistics for three channels and ten classes.

    Raises:
      ConfigError: an unknown norm or lowering. Applying it to anything but images that are
        large enough raises DataError.

    References:
      Zagoruyko and Komodakis, Wide residual networks, 2016.

    Example:
      >>> import jax
      >>> from fedcode_jax import models
      >>> first = lambda key: models.init(wrn_16_4(10), key, (32, 32, 3))
      >>> models.count_parameters(jax.eval_shape(first, jax.random.key(0)))
      2748890
    """
    check_model(num_classes, lowering)
    check_norm("wrn_16_4", norm, ("batch", "group"))
    return WideResNet(num_classes, 2, 4, norm, lowering, remat)
