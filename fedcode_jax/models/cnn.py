"""A small convolutional network, for images of 8 x 8 pixels and up."""

import flax.linen as nn
from jax import Array

from fedcode_jax.models.layers import Conv, check_images, check_model
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.norm import norm as normalise
from fedcode_jax.models.pool import max_pool


class CNN(nn.Module):
    """Two stages of convolution and max-pooling, then a dense layer; see :func:`cnn`."""

    num_classes: int
    norm: str = "none"
    lowering: str = "native"
    widths: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to logits f32[B, num_classes]; mask bool[B] as in ``norm``."""
        check_images("cnn", x, smallest=2 ** len(self.widths))
        for i, width in enumerate(self.widths):
            # a norm's own bias makes that of the convolution before it redundant
            layer = Conv(
                width,
                use_bias=self.norm == "none",
                lowering=self.lowering,
                name=f"conv{i + 1}",
            )
            x = normalise(self.norm, layer(x), name=f"norm{i + 1}", train=train, mask=mask)
            x = max_pool(nn.relu(x), 2)
        return nn.Dense(self.num_classes, name="head")(x.reshape(x.shape[0], -1))


def cnn(
    num_classes: int,
    *,
    norm: str = "none",
    lowering: str = "native",
    widths: tuple[int, ...] = (16, 32),
) -> CNN:
    """Builds a small CNN: (3 x 3 convolution, norm, relu, 2 x 2 max-pool) twice, then dense.

    Args:
      num_classes: number of logits.
      norm: ``none``, ``batch`` or ``group``; without one the convolutions have a bias.
      lowering: of the convolutions, ``native`` or ``patches``.
      widths: channels of each stage; each stage halves the image.

    Returns:
      A flax module for input f32[B, H, W, C] with H, W >= 4; 6,090 parameters for images of
      8 x 8 x 1 and ten classes.

    Raises:
      ConfigError: an unknown norm or lowering. Applying it to anything but images that are
        large enough raises DataError.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from fedcode_jax import models
      >>> model = cnn(10)
      >>> variables = models.init(model, jax.random.key(0), (8, 8, 1))
      >>> models.count_parameters(variables)
      6090
      >>> model.apply(variables, jnp.ones((5, 8, 8, 1)), train=False).shape
      (5, 10)
    """
    check_model(num_classes, lowering)
    check_norm("cnn", norm)
    return CNN(num_classes, norm, lowering, tuple(widths))
