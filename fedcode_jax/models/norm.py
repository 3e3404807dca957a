"""Normalisation between layers: over the batch, over groups of channels, or none."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from fedcode_jax.errors import ConfigError

NORMS = ("batch", "group", "none")


def norm(kind: str, x: Array, *, name: str, train: bool, mask: Array | None = None) -> Array:
    """Normalises inside a flax module: y = scale (x - mean) / sqrt(var + 1e-5) + bias.

    ``batch`` takes mean and variance over the batch and the image when training, and keeps
    running averages (0.9 of the old, 0.1 of the new) in the collection ``batch_stats``, which it
    uses when not training. Samples that the mask leaves out do not count, so that a padded batch
    gives what the smaller batch gives; if none is left in, the result, which nobody uses, is
    finite. ``group`` takes mean and variance over the image and a group of
    channels of one sample; there are gcd(8, C) groups. ``none`` returns x.

    The variance is E[x^2] - E[x]^2, clipped at 0: one pass over x instead of two.

    Args:
      kind: ``batch``, ``group`` or ``none``.
      x: f32[B, ..., C].
      name: of the module that holds ``scale`` and ``bias``; it must contain ``norm``, because
        algorithms tell kinds of parameters apart by their paths.
      train: whether to use, and add to the running averages, this batch's statistics.
      mask: bool[B], the samples that count, or None for all.

    Returns:
      f32[B, ..., C].

    References:
      Ioffe and Szegedy, Batch normalization, 2015. Wu and He, Group normalization, 2018.

    Example:
      >>> class Centred(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x, mask):
      ...         return norm("batch", x, name="norm", train=True, mask=mask)
      >>> x, mask = jnp.array([[1.0], [3.0], [99.0]]), jnp.array([True, True, False])
      >>> variables = {"params": {"norm": {"scale": jnp.ones(1), "bias": jnp.zeros(1)}},
      ...              "batch_stats": {"norm": {"mean": jnp.zeros(1), "var": jnp.ones(1)}}}
      >>> y, updated = Centred().apply(variables, x, mask, mutable=["batch_stats"])
      >>> y[:2, 0].round(3)
      Array([-1.,  1.], dtype=float32)
      >>> updated["batch_stats"]["norm"]["mean"].round(3)
      Array([0.2], dtype=float32)
    """
    if kind == "batch":
        return BatchNorm(name=name)(x, train=train, mask=mask)
    if kind == "group":
        return nn.GroupNorm(num_groups=math.gcd(8, x.shape[-1]), epsilon=1e-5, name=name)(x)
    return x


class BatchNorm(nn.Module):
    """Batch normalisation with a sample mask; see :func:`norm`.

    That of flax takes a mask as well; this one multiplies mean and scale out first, which takes
    fewer passes over x, and stays finite when no sample counts.

    Attributes:
      momentum: share of the running averages that stays in a step.
      epsilon: added to the variance.

    Example:
      >>> import jax
      >>> layer, x = BatchNorm(), jnp.array([[1.0], [3.0], [99.0]])
      >>> variables = layer.init(jax.random.key(0), x, train=False)
      >>> mask = jnp.array([True, True, False])
      >>> y, _ = layer.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])
      >>> y[:2, 0].round(3)
      Array([-1.,  1.], dtype=float32)
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self,
        x: Array,
        *,
        train: bool,
        mask: Array | None = None,
        fixed: Array | bool | None = None,
    ) -> Array:
        """Maps f32[B, ..., C] to the same shape; mask bool[B]; ``fixed`` as of ``fixed_norm``."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            mean, var = _moments(x.astype(jnp.float32), mask)
            old_mean, old_var, keep = running_mean.value, running_var.value, self.momentum
            new_mean = keep * old_mean + (1 - keep) * mean
            new_var = keep * old_var + (1 - keep) * var
            if fixed is not None:
                mean, var = jnp.where(fixed, old_mean, mean), jnp.where(fixed, old_var, var)
                new_mean = jnp.where(fixed, old_mean, new_mean)
                new_var = jnp.where(fixed, old_var, new_var)
            if not self.is_initializing():
                running_mean.value, running_var.value = new_mean, new_var
        else:
            mean, var = running_mean.value, running_var.value
        gain = scale * lax.rsqrt(var + self.epsilon)
        return x * gain.astype(x.dtype) + (bias - mean * gain).astype(x.dtype)


def _moments(x: Array, mask: Array | None) -> tuple[Array, Array]:
    """Mean and variance f32[C] of each channel over the samples that count."""
    count: Array | int = x.size // x.shape[-1]
    if mask is not None:
        count = jnp.maximum(mask.sum(), 1) * (count // x.shape[0])
        x = jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, 0)
    axes = tuple(range(x.ndim - 1))
    mean = x.sum(axes) / count
    # rounding can leave a constant channel with a variance just below 0
    return mean, jnp.maximum((x * x).sum(axes) / count - mean * mean, 0)


def check_norm(model: str, kind: str, allowed: tuple[str, ...] = NORMS) -> None:
    """Raises a ConfigError unless the model can be built with this normalisation."""
    if kind not in allowed:
        raise ConfigError(
            f"model.norm: {model} cannot be built with {kind!r}. Allowed: {', '.join(allowed)}"
        )
