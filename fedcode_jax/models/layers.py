"""What the models share: convolution and dropout as flax modules, and checks of their input."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from fedcode_jax.errors import ConfigError, DataError, check_name
from fedcode_jax.models.conv import LOWERINGS, conv
from fedcode_jax.models.depthwise import depthwise


class Conv(nn.Module):
    """A convolution, whose parameters are ``kernel`` and, if asked, ``bias``.

    Attributes:
      features: number of output channels.
      kernel_size: height and width of the window.
      stride: step between windows.
      padding: ``SAME``, ``SAME_LOWER`` or ``VALID``.
      use_bias: whether a value per output channel is added.
      lowering: ``native`` or ``patches``, see :func:`fedcode_jax.models.conv`.
      kernel_init: initialiser of ``kernel``; He's normal, for a relu behind it.

    Example:
      >>> import jax
      >>> layer = Conv(features=16)
      >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
      >>> jax.tree.map(jnp.shape, variables["params"])
      {'bias': (16,), 'kernel': (3, 3, 3, 16)}
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"
    use_bias: bool = True
    lowering: str = "native"
    kernel_init: Callable[..., Array] = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps f32[B, H, W, I] to f32[B, H', W', features]."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = conv(x, kernel, stride=self.stride, padding=self.padding, lowering=self.lowering)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,))
        return y


class Depthwise(nn.Module):
    """A depthwise 3 x 3 convolution without bias, whose parameter is ``kernel``.

    Attributes:
      stride: step between windows.
      padding: ``SAME``, ``SAME_LOWER`` or ``VALID``.
      lowering: ``native`` or ``patches``, see :func:`fedcode_jax.models.depthwise`.

    Example:
      >>> import jax
      >>> variables = Depthwise(stride=2).init(jax.random.key(0), jnp.ones((1, 8, 8, 5)))
      >>> jax.tree.map(jnp.shape, variables["params"])
      {'kernel': (3, 3, 1, 5)}
    """

    stride: int = 1
    padding: str = "SAME"
    lowering: str = "native"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps f32[B, H, W, C] to f32[B, H', W', C]."""
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, 1, x.shape[-1]))
        return depthwise(
            x, kernel, stride=self.stride, padding=self.padding, lowering=self.lowering
        )


class Dropout(nn.Module):
    """Sets a share of the values to zero and scales the others, from the key ``dropout``.

    A random byte decides for each value, a quarter of the random bits that flax's dropout
    draws; those of a sample do not depend on how many samples follow it.

    Attributes:
      rate: share of the values that is dropped, a multiple of 1/256 below 1.

    Example:
      >>> import jax
      >>> keys = {"dropout": jax.random.key(0)}
      >>> y = Dropout(0.5).apply({}, jnp.ones((1, 1000)), drop=True, rngs=keys)
      >>> sorted(set(y[0].tolist())), bool(abs(y.mean() - 1) < 0.1)
      ([0.0, 2.0], True)
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, drop: bool) -> Array:
        """Maps [B, ...] to the same shape; unchanged unless ``drop``."""
        if not drop:
            return x
        limit = round(256 * self.rate)
        if limit != 256 * self.rate or not 0 <= limit < 256:
            raise ConfigError(f"dropout: a rate of {self.rate}; give a multiple of 1/256 below 1")
        size = math.prod(x.shape[1:])
        words = jax.random.bits(self.make_rng("dropout"), (x.shape[0], -(-size // 4)), jnp.uint32)
        # All first bytes, all second ones, and so on: taking the four of a word one after
        # another would keep XLA from vectorising what this is fused into.
        of_sample = jnp.concatenate([words >> shift & 255 for shift in (0, 8, 16, 24)], axis=1)
        keep = of_sample[:, :size].reshape(x.shape) >= limit
        return jnp.where(keep, x / (1 - self.rate), 0)


def through(block: nn.Module, x: Array, *, train: bool, mask: Array | None, remat: bool) -> Array:
    """The values of a block of layers.

    Args:
      block: called with x, ``train`` and ``mask``.
      x: f32[B, ...].
      train: whether it is trained.
      mask: bool[B], as in ``norm``.
      remat: whether the gradient makes what lies inside the block again, from x, and keeps it for
        no longer: a third more products in training, and the memory of the largest block beside
        the inputs of all.

    Returns:
      f32[B, ...].
    """

    def applied(block: nn.Module, x: Array, mask: Array | None) -> Array:
        return block(x, train=train, mask=mask)

    return (nn.remat(applied) if remat else applied)(block, x, mask)


def check_model(num_classes: int, lowering: str) -> None:
    """Raises a ConfigError for settings that no model can be built with."""
    check_name("execution.conv", lowering, LOWERINGS)
    if num_classes < 1:
        raise ConfigError(f"num_classes: must be at least 1, got {num_classes}")


def check_width(width: float) -> float:
    """Returns the factor of a model's channels, or raises a ConfigError unless it is positive."""
    if not 0 < width < math.inf:
        raise ConfigError(f"model.width: must be a number above 0, got {width}")
    return width


def scaled_channels(channels: int, width: float) -> int:
    """``width`` times as many channels, to the nearest multiple of 8 that is no tenth less.

    Source: the MobileNets' own programs.

    Example:
      >>> [scaled_channels(24, width) for width in (0.25, 0.5, 1.0, 1.4)]
      [8, 16, 24, 32]
    """
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def check_images(model: str, x: Array, smallest: int = 1) -> None:
    """Raises a DataError unless x is a batch of floating-point images large enough."""
    if x.ndim != 4 or min(x.shape[1:3]) < smallest:
        size = f" of at least {smallest} x {smallest} pixels" if smallest > 1 else ""
        raise DataError(
            f"{model}: needs images [B, H, W, C]{size}, got an array of shape {x.shape}. "
            f"Flat features need the model 'mlp'"
        )
    check_floats(model, x)


def check_floats(model: str, x: Array) -> None:
    """Raises a DataError unless x is floating point: stored images must be normalised first."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise DataError(f"{model}: needs normalised float32 input, got {x.dtype}")
