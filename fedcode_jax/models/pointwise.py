"""Convolutions of one pixel as matrix products: what XLA:CPU does best, and their gradients.

A 1 x 1 window multiplies the channels of each pixel by one matrix, y = x k. Both gradients are
products as well, dx = g k' and dk = x' g, of all pixels of all images as rows. JAX's own
convolution takes 35 to 70 times as long for the last one in a loop
(``benchmarks/convolutions.py``).
"""

from jax import Array

from fedcode_jax.models.winograd import Pads


def suits(kernel: Array, stride: int, pads: Pads) -> bool:
    """Whether a convolution is a product: one pixel at a time, all of them and no others."""
    return kernel.shape[:2] == (1, 1) and stride == 1 and pads == ((0, 0), (0, 0))


def forward(x: Array, kernel: Array) -> Array:
    """The convolution of ``conv`` with a kernel that ``suits``.

    Args:
      x: f32[B, H, W, I].
      kernel: f32[1, 1, I, O].

    Returns:
      f32[B, H, W, O]; ``gradients`` are its derivatives.

    Example:
      >>> import jax.numpy as jnp
      >>> forward(jnp.ones((1, 1, 2, 3)), jnp.full((1, 1, 3, 1), 2.0))[0, 0, :, 0]
      Array([6., 6.], dtype=float32)
    """
    return (_rows(x) @ kernel[0, 0]).reshape(*x.shape[:3], -1)


def gradients(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
    """The gradients of ``forward``, given that of its result.

    Args:
      x: f32[B, H, W, I].
      kernel: f32[1, 1, I, O].
      g: f32[B, H, W, O], the gradient of the result.

    Returns:
      The gradients of x, f32[B, H, W, I], and of the kernel, f32[1, 1, I, O].
    """
    # A sum over one axis of rows: over three axes of images at once it is not recognised.
    return forward(g, kernel.swapaxes(2, 3)), (_rows(x).T @ _rows(g))[None, None]


def _rows(x: Array) -> Array:
    """All pixels, one a row."""
    return x.reshape(-1, x.shape[3])
