"""Losses and metrics: functions of a sample's logits and label, and what is asked of them.

A loss maps logits f32[B, K] and labels i32[B] to f32[B], one value a sample; its mean is what
clients minimise and what the test set is scored with. A metric does the same, or gives bool[B];
its mean over the test set is reported. Both are traced, so they are written in ``jax.numpy``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedcode_jax.errors import ConfigError

PerSample = Callable[[jax.Array, jax.Array], jax.Array]
"""(logits f32[B, K], labels i32[B]) -> f32[B], or bool[B] of a metric."""

_SIZES = (3, 5)
_TAKEN = ("accuracy", "loss")


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The cross-entropy of the softmax: -log softmax(z)_y.

    Args:
      logits: f32[B, K], z.
      labels: i32[B], y.

    Returns:
      f32[B].

    Example:
      >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(3).tolist()
      [1.3860000371932983]
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def top5(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the class of a sample is among the five with the largest logits.

    Of equal logits those of the first classes count as the larger, as in ``jax.lax.top_k``. With
    five classes or fewer every sample is right.

    Args:
      logits: f32[B, K].
      labels: i32[B].

    Returns:
      bool[B].

    Example:
      >>> top5(jnp.arange(7.0)[None], jnp.array([1])).tolist()
      [False]
    """
    _, largest = jax.lax.top_k(logits, min(5, logits.shape[-1]))
    return jnp.any(largest == labels[:, None], axis=-1)


losses: dict[str, PerSample] = {"cross_entropy": cross_entropy}
"""Losses by name."""

metrics: dict[str, PerSample] = {"top5": top5}
"""Metrics by name."""


def masked_sum(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The sum f32[] of what the mask leaves in; the rest may be anything, nan too.

    Example:
      >>> float(masked_sum(jnp.array([1.0, jnp.nan]), jnp.array([True, False])))
      1.0
    """
    return jnp.sum(jnp.where(mask, values, 0))


def check_loss(function: PerSample, num_classes: int, setting: str = "loss") -> None:
    """Traces a loss and its gradient, and looks at what it gives.

    Args:
      function: the loss.
      num_classes: K.
      setting: its name in messages.

    Raises:
      ConfigError: it raises, or gives anything but f32[B].

    Example:
      >>> check_loss(lambda logits, labels: logits.mean(), 10)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: loss: gives float32[] for 3 samples; it must give ...
    """
    _check(function, num_classes, setting, (jnp.float32,))

    def gradient(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return jax.grad(lambda logits: jnp.sum(function(logits, labels)))(logits)

    _traced(gradient, _SIZES[0], num_classes, f"{setting} (its gradient)")


def check_metric(function: PerSample, num_classes: int, setting: str = "metrics") -> None:
    """Traces a metric and looks at what it gives.

    Args:
      function: the metric.
      num_classes: K.
      setting: its name in messages.

    Raises:
      ConfigError: it raises, or gives anything but f32[B] or bool[B].

    Example:
      >>> check_metric(top5, 10)
    """
    _check(function, num_classes, setting, (jnp.float32, jnp.bool_))


def check_metrics(
    pairs: Sequence[tuple[str, PerSample]], num_classes: int, setting: str = "metrics"
) -> None:
    """Checks metrics and their names, which are those of figures: ``test_<name>``.

    Args:
      pairs: names and metrics.
      num_classes: K.
      setting: its name in messages.

    Raises:
      ConfigError: a name that is no name, is taken or occurs twice, or as ``check_metric``.

    Example:
      >>> check_metrics([("loss", top5)], 10)
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: metrics: 'loss' is reported in any case; use another name
    """
    names = [name for name, _ in pairs]
    for name, function in pairs:
        if not (isinstance(name, str) and name.isidentifier()):
            raise ConfigError(f"{setting}: {name!r} is no name; use letters, digits and _")
        if name in _TAKEN:
            raise ConfigError(f"{setting}: {name!r} is reported in any case; use another name")
        if names.count(name) > 1:
            raise ConfigError(f"{setting}: {name!r} occurs twice; give each a name of its own")
        check_metric(function, num_classes, f"{setting}.{name}")


def _check(function: PerSample, num_classes: int, setting: str, allowed: tuple) -> None:
    if not callable(function):
        raise ConfigError(
            f"{setting}: {function!r} is no function; give one of logits f32[B, K] and labels"
        )
    for size in _SIZES:
        found = _traced(function, size, num_classes, setting)
        if getattr(found, "shape", None) != (size,) or found.dtype not in allowed:
            kinds = " or ".join(f"{jnp.dtype(kind)}[{size}]" for kind in allowed)
            what = type(found).__name__
            if hasattr(found, "shape"):
                what = f"{found.dtype}{list(found.shape)}"
            raise ConfigError(
                f"{setting}: gives {what} for {size} samples; it must give {kinds}, one value each"
            )


def _traced(function: PerSample, size: int, num_classes: int, setting: str) -> Any:
    """The shapes of what a function gives for so many samples."""
    logits = jax.ShapeDtypeStruct((size, num_classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((size,), jnp.int32)
    try:
        return jax.eval_shape(function, logits, labels)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{setting}: tracing it with logits f32[{size}, {num_classes}] and labels i32[{size}] "
            f"raises {type(error).__name__}: {text}; write it in jax.numpy"
        ) from None
