"""Augmentation of images: one gather, no padded copy."""

import jax
import jax.numpy as jnp

from fedcode_jax import randomness
from fedcode_jax.errors import ConfigError


@randomness.standardised
def crop_and_flip(key: jax.Array, images: jax.Array, pad: int = 4) -> jax.Array:
    """Shifts each image at random, zeros coming in at the border, and flips every other one.

    The usual augmentation of CIFAR: pad by ``pad`` zeros, crop back to the old size at a uniformly
    random place, flip left-right with probability 1/2, each image by itself:

    out[b, i, j] = images[b, i + dy_b, j' + dx_b], or 0 outside of the image, with dy_b and dx_b
    uniform on {-pad, ..., pad}, and j' = W - 1 - j where flipped, else j.

    Args:
      key: one PRNG key for the batch.
      images: ``[B, H, W, C]``, any dtype, raw units.
      pad: largest shift in pixels, static.

    Returns:
      ``[B, H, W, C]`` of the same dtype.

    Raises:
      ConfigError: ``images`` do not have four axes, or ``pad`` is negative.

    Source: He et al. 2015, section 4.2, https://arxiv.org/abs/1512.03385.

    Example:
      >>> images = jnp.ones((2, 8, 8, 3), jnp.uint8)
      >>> out = crop_and_flip(jax.random.key(0), images)
      >>> out.shape, out.dtype.name
      ((2, 8, 8, 3), 'uint8')
    """
    images = jnp.asarray(images)
    if images.ndim != 4:
        raise ConfigError(
            f"local.augment: crop_flip is for images [B, H, W, C], not for shape {images.shape}; "
            "set it to none"
        )
    if pad < 0:
        raise ConfigError(f"local.augment: pad {pad} is negative")
    batch, height, width, _ = images.shape
    dy, dx, flip = _draw(key, batch, pad)
    columns = jnp.arange(width)
    rows = jnp.arange(height) + dy[:, None]  # [B, H]
    columns = jnp.where(flip[:, None], columns[::-1], columns) + dx[:, None]  # [B, W]
    inside = ((rows >= 0) & (rows < height))[:, :, None]
    inside &= ((columns >= 0) & (columns < width))[:, None, :]
    gathered = images.at[
        jnp.arange(batch)[:, None, None],
        jnp.clip(rows, 0, height - 1)[:, :, None],
        jnp.clip(columns, 0, width - 1)[:, None, :],
    ].get(mode="promise_in_bounds")
    return jnp.where(inside[..., None], gathered, jnp.zeros((), images.dtype))


def _draw(key: jax.Array, batch: int, pad: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Vertical shift, horizontal shift and whether to flip, each ``[B]``."""
    shift_key, flip_key = jax.random.split(key)
    dy, dx = jax.random.randint(shift_key, (2, batch), -pad, pad + 1)
    return dy, dx, jax.random.bernoulli(flip_key, 0.5, (batch,))
