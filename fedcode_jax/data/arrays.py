"""From loose arrays to a data set: checked once, here, so that nothing later has to ask."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcode_jax.data.dataset import Dataset
from fedcode_jax.errors import DataError

# Labels beyond this are ids or hashes, not classes: a model head of that size helps nobody.
_MOST_CLASSES = 100_000


def from_arrays(
    name: str,
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    train_user: ArrayLike | None = None,
    source: str | None = None,
) -> Dataset:
    """Checks arrays and makes a `Dataset` of them.

    uint8 and int16 features stay as they are, all other numbers become float32; ``[N, H, W]``
    becomes ``[N, H, W, 1]``, while feature vectors and waveforms ``[N, D]`` stay vectors.

    Args:
      name: what the data set is called.
      train_x: numbers ``[N, ...features]``.
      train_y: integers ``[N]``.
      test_x: numbers ``[T, ...features]``.
      test_y: integers ``[T]``.
      num_classes: default: one for each of ``class_names``, or the largest train label + 1.
      class_names: one a class; default ``("0", "1", ...)``.
      train_user: integers or strings ``[N]``, or None. Strings are numbered in sorted order.
      source: where the arrays come from, for errors; default ``name``.

    Returns:
      The data set; it shares memory with the arrays where their dtype allows.

    Raises:
      DataError: an array is empty, not finite, of the wrong shape, kind or length, or holds a
        label outside the classes. The message names the array.

    Example:
      >>> data = from_arrays("toy", np.zeros((4, 8, 8), np.uint8), [0, 1, 2, 1],
      ...                    np.zeros((2, 8, 8), np.uint8), [0, 2])
      >>> data.input_shape, data.num_classes, data.is_image
      ((8, 8, 1), 3, True)
    """
    source = source or name
    x = {"train_x": _features(train_x, source, "train_x")}
    x["test_x"] = _features(test_x, source, "test_x")
    y = {"train_y": _labels(train_y, len(x["train_x"]), source, "train_y")}
    y["test_y"] = _labels(test_y, len(x["test_x"]), source, "test_y")
    if x["train_x"].shape[1:] != x["test_x"].shape[1:]:
        raise DataError(
            f"{source}: test_x: samples of shape {x['test_x'].shape[1:]}, but those of train_x "
            f"have {x['train_x'].shape[1:]}; both splits must be prepared alike"
        )
    if x["train_x"].dtype != x["test_x"].dtype:
        # uint8 beside floats nearly always means 0..255 beside 0..1.
        raise DataError(
            f"{source}: test_x: {np.asarray(test_x).dtype}, but train_x is "
            f"{np.asarray(train_x).dtype}; give both splits the same dtype and the same units"
        )
    if num_classes is None:
        num_classes = len(class_names) if class_names else int(y["train_y"].max()) + 1
    if not 1 <= num_classes <= _MOST_CLASSES:
        raise DataError(
            f"{source}: train_y: {num_classes:,} classes (1 to {_MOST_CLASSES:,} are possible); "
            "number the classes 0, 1, 2, ..."
        )
    for split, labels in y.items():
        outside = (labels < 0) | (labels >= num_classes)
        if outside.any():
            row = int(outside.argmax())
            raise DataError(
                f"{source}: {split}: label {labels[row]} in row {row} is outside 0.."
                f"{num_classes - 1}; number the classes from 0, or set data.num_classes"
            )
    if class_names is not None and len(class_names) != num_classes:
        raise DataError(
            f"{source}: class_names: {len(class_names)} names for {num_classes} classes"
        )
    users = None if train_user is None else _users(train_user, len(y["train_y"]), source)
    return Dataset(
        name=name,
        train_x=_read_only(x["train_x"]),
        train_y=_read_only(y["train_y"].astype(np.int32)),
        test_x=_read_only(x["test_x"]),
        test_y=_read_only(y["test_y"].astype(np.int32)),
        num_classes=int(num_classes),
        class_names=tuple(map(str, class_names or range(num_classes))),
        train_user=None if users is None else _read_only(users),
    )


def _features(values: ArrayLike, source: str, name: str) -> NDArray:
    x = np.asarray(values)
    if x.dtype.kind not in "biuf":
        raise DataError(f"{source}: {name}: dtype {x.dtype}; features must be numbers")
    if x.ndim < 2 or x.size == 0:
        raise DataError(
            f"{source}: {name}: shape {x.shape}; at least one sample is needed, as [N, features] "
            "or [N, height, width, channels]"
        )
    if x.dtype not in (np.uint8, np.int16):
        with np.errstate(over="ignore"):  # an overflow becomes inf and is reported below
            x = x.astype(np.float32, copy=False)
        finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        if not finite.all():
            row = int(finite.argmin())
            raise DataError(
                f"{source}: {name}: row {row} holds a value that is not finite in float32; "
                "remove or repair such samples"
            )
    return x[..., None] if x.ndim == 3 else x


def _labels(values: ArrayLike, length: int, source: str, name: str) -> NDArray:
    y = np.asarray(values)
    if y.dtype.kind not in "iu":
        raise DataError(
            f"{source}: {name}: dtype {y.dtype}; labels must be integers: convert them with "
            f"{name}.astype('int32') if they are whole numbers"
        )
    if y.shape != (length,):
        raise DataError(
            f"{source}: {name}: shape {y.shape}, but {name[:-1]}x has {length} samples; one label "
            f"each is needed, shape ({length},)"
        )
    return y


def _users(values: ArrayLike, length: int, source: str) -> NDArray[np.int32]:
    users = np.asarray(values)
    if users.dtype.kind not in "iuUS":
        raise DataError(
            f"{source}: train_user: dtype {users.dtype}; users must be integers or strings"
        )
    if users.shape != (length,):
        raise DataError(
            f"{source}: train_user: shape {users.shape}, but train_x has {length} samples; one "
            f"user each is needed, shape ({length},)"
        )
    limits = np.iinfo(np.int32)
    if users.dtype.kind in "iu" and limits.min <= users.min() and users.max() <= limits.max:
        return users.astype(np.int32)
    known, ids = np.unique(users, return_inverse=True)
    negative = int(np.searchsorted(known, 0)) if users.dtype.kind == "i" else 0
    return (ids - negative).astype(np.int32)  # negative users stay negative


def _read_only(array: NDArray) -> NDArray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
