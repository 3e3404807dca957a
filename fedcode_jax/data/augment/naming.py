"""Augmentations by name, alone or one after the other."""

from collections.abc import Callable

import jax
from jax.typing import DTypeLike

from fedcode_jax import randomness
from fedcode_jax.data.augment.audio import spec_augment, time_shift
from fedcode_jax.data.augment.images import crop_and_flip
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.names import one_line

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]
"""``(key, x[B, ...]) -> x`` of the same shape and dtype, in raw units."""

augmentations: dict[str, Augmentation | None] = {
    "none": None,
    "crop_flip": crop_and_flip,
    "spec_augment": spec_augment,
    "time_shift": time_shift,
}


def parse(name: str) -> tuple[Augmentation, ...]:
    """The augmentations that a name stands for: ``none``, or one or several joined by ``+``.

    Args:
      name: as in ``local.augment``.

    Returns:
      Its parts, in the order in which they are applied; none of them for ``none``.

    Raises:
      ConfigError: a part is unknown, occurs twice, or is ``none`` beside others.

    Example:
      >>> parse("time_shift+spec_augment") == (time_shift, spec_augment)
      True
      >>> parse("time_shift+specaugment")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.augment: unknown name 'specaugment'.
        Did you mean 'spec_augment'? ...
    """
    names = name.split("+")
    for part in names:
        check_name("local.augment", part, augmentations)
    if len(set(names)) < len(names) or ("none" in names and len(names) > 1):
        raise ConfigError(
            f"local.augment: {name!r} cannot be used; it must be none, or different augmentations "
            "joined by +, such as time_shift+spec_augment"
        )
    return tuple(part for part in map(augmentations.get, names) if part is not None)


def make(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Augmentation | None:
    """The augmentation of a name, if the samples of a data set can have it.

    Args:
      name: as in ``local.augment``.
      shape: of one sample.
      dtype: of the samples.

    Returns:
      The augmentation, or None for ``none``. Where there are several parts, each has a key of its
      own, folded from the one given.

    Raises:
      ConfigError: as in `parse`, or a part is not made for such samples. Nothing is computed.

    Example:
      >>> make("none", (98, 64, 1), "float32") is None
      True
      >>> make("spec_augment", (8, 8, 1), "uint8")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: local.augment: spec_augment is for float spectrograms ...
    """
    parts = parse(name)
    if not parts:
        return None

    def chain(key: jax.Array, x: jax.Array) -> jax.Array:
        for index, part in enumerate(parts):
            x = part(jax.random.fold_in(key, index), x)
        return x

    augmentation = parts[0] if len(parts) == 1 else chain
    return checked(augmentation, shape, dtype)


def checked(augmentation: Augmentation, shape: tuple[int, ...], dtype: DTypeLike) -> Augmentation:
    """An augmentation, once it is known that the samples of a data set can have it.

    Args:
      augmentation: one of ours, or one's own.
      shape: of one sample.
      dtype: of the samples.

    Returns:
      It.

    Raises:
      ConfigError: it is not made for such samples, or gives others. Nothing is computed.
    """
    batch = jax.ShapeDtypeStruct((2, *shape), dtype)
    try:
        found = jax.eval_shape(augmentation, randomness.key(0), batch)
    except ConfigError as error:
        raise ConfigError(str(error)) from None  # without JAX's notes on its own frames
    except Exception as error:
        raise ConfigError(
            f"local.augment: on samples {dtype}{list(shape)} it raised {one_line(error)}; it must "
            "be the function of a key and a batch itself"
        ) from error
    if getattr(found, "shape", None) != batch.shape or found.dtype != batch.dtype:
        raise ConfigError(
            f"local.augment: gives {found} of {batch}; it must keep the shape and type of a batch"
        )
    return augmentation
