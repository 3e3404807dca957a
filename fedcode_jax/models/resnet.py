"""Residual networks for small images, of depth 6n + 2."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fedcode_jax.errors import ConfigError
from fedcode_jax.models.layers import Conv, check_images, check_model, through
from fedcode_jax.models.norm import check_norm
from fedcode_jax.models.norm import norm as normalise
from fedcode_jax.models.pool import global_avg_pool


def shortcut(x: Array, features: int, stride: int) -> Array:
    """Passes x on without parameters (option A): every stride-th pixel, then channels of zeros.

    Args:
      x: f32[B, H, W, C].
      features: channels of the result, at least C.
      stride: of the pixels that are kept, from the first.

    Returns:
      f32[B, ceil(H / stride), ceil(W / stride), features].

    Example:
      >>> shortcut(jnp.arange(9.0).reshape(1, 3, 3, 1), 2, 2)[0, :, :, 0]
      Array([[0., 2.],
             [6., 8.]], dtype=float32)
    """
    x = x[:, ::stride, ::stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[3])))


class Block(nn.Module):
    """A basic block: relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))."""

    features: int
    stride: int
    norm: str
    lowering: str

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to f32[B, ceil(H / stride), ceil(W / stride), features]."""
        y = x
        for i, stride in enumerate((self.stride, 1)):
            layer = Conv(
                self.features,
                stride=stride,
                padding="SAME_LOWER",  # windows centred on the pixels of the shortcut
                use_bias=False,
                lowering=self.lowering,
                name=f"conv{i + 1}",
            )
            y = normalise(self.norm, layer(y), name=f"norm{i + 1}", train=train, mask=mask)
            if i == 0:
                y = nn.relu(y)
        return nn.relu(y + shortcut(x, self.features, self.stride))


class ResNet(nn.Module):
    """Three stages of basic blocks on 16, 32 and 64 channels; see :func:`resnet`."""

    num_classes: int
    blocks: int
    norm: str = "batch"
    lowering: str = "native"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Maps f32[B, H, W, C] to logits f32[B, num_classes]; mask bool[B] as in ``norm``."""
        check_images(f"resnet{6 * self.blocks + 2}", x, smallest=4)
        x = Conv(16, use_bias=False, lowering=self.lowering, name="conv")(x)
        x = nn.relu(normalise(self.norm, x, name="norm", train=train, mask=mask))
        for stage, features in enumerate((16, 32, 64)):
            for i in range(self.blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                block = Block(
                    features, stride, self.norm, self.lowering, name=f"stage{stage + 1}_block{i}"
                )
                x = through(block, x, train=train, mask=mask, remat=self.remat)
        return nn.Dense(self.num_classes, name="head")(global_avg_pool(x))


def resnet(
    depth: int,
    num_classes: int,
    *,
    norm: str = "batch",
    lowering: str = "native",
    remat: bool = False,
) -> ResNet:
    """Builds a ResNet of the CIFAR experiments, with parameter-free shortcuts (option A).

    A 3 x 3 convolution, three stages of n basic blocks on 16, 32 and 64 channels (the second
    and third stage begin with stride 2), the average over the image, a dense layer.

    Args:
      depth: 6n + 2, the number of layers with weights.
      num_classes: number of logits.
      norm: ``batch`` or ``group``.
      lowering: of the convolutions, ``native`` or ``patches``.
      remat: whether the values inside a block are made again for its gradient, not kept.

    Returns:
      A flax module for input f32[B, H, W, C] with H, W >= 4; at depth 20, 269,722 parameters and,
      with batch norm, 1,376 running statistics for three channels and ten classes.

    Raises:
      ConfigError: another depth, an unknown norm or lowering. Applying it to anything but images
        that are large enough raises DataError.

    References:
      He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2015, section 4.2.

    Example:
      >>> import jax
      >>> from fedcode_jax import models
      >>> def first(key):
      ...     return models.init(resnet(20, 10), key, (32, 32, 3))
      >>> variables = jax.eval_shape(first, jax.random.key(0))  # shapes only: nothing is compiled
      >>> models.count_parameters(variables)
      269722
      >>> list(variables["params"]["stage3_block0"])
      ['conv1', 'conv2', 'norm1', 'norm2']
    """
    if depth < 8 or (depth - 2) % 6:
        raise ConfigError(f"resnet: depth must be 6n + 2 (8, 14, 20, 32, ...), got {depth}")
    check_model(num_classes, lowering)
    check_norm(f"resnet{depth}", norm, ("batch", "group"))
    return ResNet(num_classes, (depth - 2) // 6, norm, lowering, remat)


def resnet8(
    num_classes: int, *, norm: str = "batch", lowering: str = "native", remat: bool = False
) -> ResNet:
    """Builds the :func:`resnet` of depth 8."""
    return resnet(8, num_classes, norm=norm, lowering=lowering, remat=remat)


def resnet14(
    num_classes: int, *, norm: str = "batch", lowering: str = "native", remat: bool = False
) -> ResNet:
    """Builds the :func:`resnet` of depth 14."""
    return resnet(14, num_classes, norm=norm, lowering=lowering, remat=remat)


def resnet20(
    num_classes: int, *, norm: str = "batch", lowering: str = "native", remat: bool = False
) -> ResNet:
    """Builds the :func:`resnet` of depth 20."""
    return resnet(20, num_classes, norm=norm, lowering=lowering, remat=remat)


def resnet32(
    num_classes: int, *, norm: str = "batch", lowering: str = "native", remat: bool = False
) -> ResNet:
    """Builds the :func:`resnet` of depth 32."""
    return resnet(32, num_classes, norm=norm, lowering=lowering, remat=remat)


def resnet56(
    num_classes: int, *, norm: str = "batch", lowering: str = "native", remat: bool = False
) -> ResNet:
    """Builds the :func:`resnet` of depth 56."""
    return resnet(56, num_classes, norm=norm, lowering=lowering, remat=remat)
