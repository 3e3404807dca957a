"""A part of a data set."""

import dataclasses

import numpy as np

from fedcode_jax.data.dataset import Dataset
from fedcode_jax.errors import ConfigError

_DRAW = 0x9A27  # of the samples: the same whatever the seed of a run


def part_of(dataset: Dataset, train: int | None = None, test: int | None = None) -> Dataset:
    """So many samples of a data set, drawn evenly at random, in the order in which they stand.

    The draw depends on the number of samples alone, so that every run has the same part.

    Args:
      dataset: the whole.
      train: train samples; None for all.
      test: test samples; None for all.

    Returns:
      The part, with the classes and users of the whole.

    Raises:
      ConfigError: more samples than there are.

    Example:
      >>> from fedcode_jax.data import from_arrays
      >>> x = np.arange(10, dtype=np.float32)[:, None]
      >>> part = part_of(from_arrays("ten", x, np.arange(10) % 2, x, np.arange(10) % 2), train=4)
      >>> part.num_train, part.num_test, bool((np.diff(part.train_x[:, 0]) > 0).all())
      (4, 10, True)
    """
    changed = {}
    for split, wanted in (("train", train), ("test", test)):
        if wanted is None:
            continue
        there = len(getattr(dataset, f"{split}_y"))
        if wanted > there:
            raise ConfigError(
                f"data.{split}_part: {wanted} cannot be used; {dataset.name} has {there} {split} "
                "samples; leave it out for all of them"
            )
        chosen = np.sort(np.random.default_rng([_DRAW, there]).choice(there, wanted, replace=False))
        for name in (f"{split}_x", f"{split}_y", f"{split}_user"):
            array = getattr(dataset, name)
            if array is not None:
                changed[name] = array[chosen]
                changed[name].flags.writeable = False
    return dataclasses.replace(dataset, **changed)
