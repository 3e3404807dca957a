"""LeNet-5, for digits and other small images."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fedcode_jax.models.layers import Conv, check_images, check_model
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.pool import max_pool

_SIDE = 32


class LeNet5(nn.Module):
    """Two convolutions with pooling, three dense layers; see :func:`lenet5`."""

    num_classes: int
    lowering: str = "native"

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to logits f32[B, num_classes]; no sample depends on another."""
        del train, mask
        check_images("lenet5", x)
        for i, features in enumerate((6, 16)):
            if i == 0:
                missing = [max(_SIDE - size, 0) for size in x.shape[1:3]]
                around = [(zeros // 2, zeros - zeros // 2) for zeros in missing]
                x = jnp.pad(x, ((0, 0), *around, (0, 0)))
            layer = Conv(features, 5, padding="VALID", lowering=self.lowering, name=f"conv{i + 1}")
            x = max_pool(nn.relu(layer(x)), 2)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate((120, 84)):
            init = nn.initializers.he_normal()
            x = nn.relu(nn.Dense(width, kernel_init=init, name=f"dense{i + 1}")(x))
        return nn.Dense(self.num_classes, name="head")(x)


def lenet5(num_classes: int, *, norm: str = "none", lowering: str = "native") -> LeNet5:
    """Builds LeNet-5 as it is used today, with relu and maxima.

    A 5 x 5 convolution of 6 channels without padding, a 2 x 2 max-pooling, the same with 16
    channels, dense layers of 120, 84 and as many as there are classes. As in the paper, images
    smaller than 32 x 32 are surrounded by zeros up to that; larger ones stay as they are.

    Args:
      num_classes: number of logits.
      norm: only ``none``.
      lowering: of the convolutions, ``native`` or ``patches``.

    Returns:
      A flax module for input f32[B, H, W, C]; with ten classes 61,706 parameters for one
      channel and 62,006 for three, up to 32 x 32.

    Raises:
      ConfigError: a norm other than ``none``, or an unknown lowering. Applying it to anything
        but images raises DataError.

    References:
      LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition,
      1998, section II.B.

    Example:
      >>> import jax
      >>> from fedcode_jax import models
      >>> first = lambda key: models.init(lenet5(10), key, (28, 28, 1))
      >>> models.count_parameters(jax.eval_shape(first, jax.random.key(0)))
      61706
    """
    check_model(num_classes, lowering)
    check_norm("lenet5", norm, ("none",))
    return LeNet5(num_classes, lowering)
