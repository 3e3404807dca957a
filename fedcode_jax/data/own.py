"""Data of one's own: arrays, or a data set made elsewhere, checked like any other."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedcode_jax.data.arrays import from_arrays
from fedcode_jax.data.dataset import Dataset
from fedcode_jax.errors import DataError

_NEEDED = ("train_x", "train_y", "test_x", "test_y")
_OPTIONAL = ("train_user", "test_user", "class_names", "num_classes", "layout")


def as_dataset(given: Any, name: str = "dataset") -> Dataset:
    """The data set that somebody made.

    Args:
      given: a `Dataset`; or a mapping with ``train_x``, ``train_y``, ``test_x`` and ``test_y``, and
        if wanted what else `from_arrays` takes; or these four arrays in this order.
      name: of the data set, also for errors.

    Returns:
      The data set.

    Raises:
      DataError: something else was given, an array is missing or malformed, or a class has no
        training sample.

    Example:
      >>> x = np.zeros((4, 3), np.float32)
      >>> as_dataset((x, [0, 1, 0, 1], x, [1, 1, 0, 0])).num_classes
      2
    """
    dataset = given if isinstance(given, Dataset) else from_arrays(name, **_arrays(given, name))
    if isinstance(given, Dataset):  # it may have been made by hand
        from_arrays(
            given.name,
            *(getattr(given, array) for array in _NEEDED),
            num_classes=given.num_classes,
            class_names=given.class_names,
            train_user=given.train_user,
            test_user=given.test_user,
            layout="channels_last" if given.train_x.ndim > 2 else None,
        )
    absent = np.setdiff1d(np.arange(dataset.num_classes), dataset.train_y)
    if len(absent):
        names = ", ".join(repr(dataset.class_names[i]) for i in absent[:5])
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise DataError(
            f"{name}: no training sample is of class {names}{more}, of {dataset.num_classes} "
            "classes; number the classes that there are 0, 1, 2, ..., and give num_classes or "
            "class_names accordingly"
        )
    return dataset


def _arrays(given: Any, name: str) -> dict[str, Any]:
    if isinstance(given, tuple | list) and len(given) == len(_NEEDED):
        return dict(zip(_NEEDED, given, strict=True))
    if not isinstance(given, Mapping):
        raise DataError(
            f"{name}: {type(given).__name__} is no data set; give a Dataset, a mapping of arrays "
            f"({', '.join(_NEEDED)}), or these four arrays"
        )
    missing = [each for each in _NEEDED if each not in given]
    unknown = [str(each) for each in given if each not in (*_NEEDED, *_OPTIONAL)]
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
        raise DataError(
            f"{name}: the mapping {what}; it must have {', '.join(_NEEDED)}, and may have "
            f"{', '.join(_OPTIONAL)}"
        )
    return dict(given)
