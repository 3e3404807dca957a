"""Augmentation inside the jitted step: ``(key, x[B, ...]) -> x``, in raw units, by name."""

from fedcode_jax.data.augment.audio import spec_augment, time_shift
from fedcode_jax.data.augment.images import crop_and_flip
from fedcode_jax.data.augment.naming import Augmentation, augmentations, checked, make, parse

__all__ = [
    "Augmentation",
    "augmentations",
    "checked",
    "crop_and_flip",
    "make",
    "parse",
    "spec_augment",
    "time_shift",
]
