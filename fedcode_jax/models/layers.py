"""What the models share: the convolution as a flax module, and the check of their input."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fedcode_jax.errors import ConfigError, DataError, check_name
from fedcode_jax.models.conv import LOWERINGS, conv


class Conv(nn.Module):
    """A convolution with SAME padding, whose parameters are ``kernel`` and, if asked, ``bias``.

    Attributes:
      features: number of output channels.
      kernel_size: height and width of the window.
      stride: step between windows.
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
    use_bias: bool = True
    lowering: str = "native"
    kernel_init: Callable[..., Array] = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps f32[B, H, W, I] to f32[B, ceil(H / stride), ceil(W / stride), features]."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = conv(x, kernel, stride=self.stride, lowering=self.lowering)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,))
        return y


def check_model(num_classes: int, lowering: str) -> None:
    """Raises a ConfigError for settings that no model can be built with."""
    check_name("execution.conv", lowering, LOWERINGS)
    if num_classes < 1:
        raise ConfigError(f"num_classes: must be at least 1, got {num_classes}")


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
