"""The small CNN of pfl-research's CIFAR-10 benchmark."""

import flax.linen as nn
from jax import Array

from fedcode_jax.models.layers import Conv, Dropout, check_images, check_model
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.pool import max_pool

_glorot = nn.initializers.glorot_uniform()


class PflCNN(nn.Module):
    """Two convolutions, a pooling, two dense layers, with dropout; see :func:`cnn_pfl`."""

    num_classes: int
    dropout: bool = True
    lowering: str = "native"

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to logits f32[B, num_classes]; no sample depends on another."""
        del mask
        check_images("cnn_pfl", x, smallest=6)
        drop = train and self.dropout
        for i, width in enumerate((32, 64)):
            layer = Conv(
                width,
                padding="VALID",
                lowering=self.lowering,
                kernel_init=_glorot,
                name=f"conv{i + 1}",
            )
            x = nn.relu(layer(x))
        x = Dropout(0.25)(max_pool(x, 2), drop=drop)
        x = nn.relu(nn.Dense(128, kernel_init=_glorot, name="dense")(x.reshape(x.shape[0], -1)))
        x = Dropout(0.5)(x, drop=drop)
        return nn.Dense(self.num_classes, kernel_init=_glorot, name="head")(x)


def cnn_pfl(
    num_classes: int,
    *,
    norm: str = "none",
    lowering: str = "native",
    dropout: bool = True,
) -> PflCNN:
    """Builds the CNN of pfl-research's CIFAR-10 benchmark.

    Two 3 x 3 convolutions without padding (32 and 64 channels), relu after each, a 2 x 2
    max-pooling, dropout of a quarter, a dense layer of 128 with relu, dropout of a half, a
    dense layer. Glorot's uniform initialisation.

    Args:
      num_classes: number of logits.
      norm: only ``none``.
      lowering: of the convolutions, ``native`` or ``patches``.
      dropout: whether training drops activations; it then takes a key named ``dropout``.

    Returns:
      A flax module for input f32[B, H, W, C] with H, W >= 6; 1,626,442 parameters for images
      of 32 x 32 x 3 and ten classes.

    Raises:
      ConfigError: a norm other than ``none``, or an unknown lowering. Applying it to anything
        but images that are large enough raises DataError.

    Source: Granqvist et al., pfl-research, arXiv 2404.06430, and its benchmarks.

    Example:
      >>> import jax
      >>> from fedcode_jax import models
      >>> first = lambda key: models.init(cnn_pfl(10), key, (32, 32, 3))
      >>> models.count_parameters(jax.eval_shape(first, jax.random.key(0)))
      1626442
    """
    check_model(num_classes, lowering)
    check_norm("cnn_pfl", norm, ("none",))
    return PflCNN(num_classes, dropout, lowering)
