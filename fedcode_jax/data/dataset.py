"""The data set: arrays in raw units, validated once, so that nothing later has to ask."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcode_jax.errors import DataError

# Labels beyond this are ids or hashes, not classes: a model head of that size helps nobody.
_MOST_CLASSES = 100_000
_ROWS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test split in raw units, made by `from_arrays`. The arrays are read-only.

    Attributes:
      name: what it is called in tables and errors.
      train_x: uint8 or float32 ``[N, ...features]``; images are ``[N, H, W, C]``, channels last.
      train_y: int32 ``[N]``, classes ``0 .. num_classes - 1``.
      test_x: as ``train_x``, ``[T, ...features]``.
      test_y: as ``train_y``, ``[T]``.
      num_classes: how many classes the model must tell apart.
      class_names: one name a class.
      train_user: int32 ``[N]``, whose sample each is (negative: nobody's), or None.
    """

    name: str
    train_x: NDArray
    train_y: NDArray[np.int32]
    test_x: NDArray
    test_y: NDArray[np.int32]
    num_classes: int
    class_names: tuple[str, ...]
    train_user: NDArray[np.int32] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, e.g. ``(32, 32, 3)``."""
        return tuple(self.train_x.shape[1:])

    @property
    def num_train(self) -> int:
        """Number of train samples."""
        return len(self.train_y)

    @property
    def num_test(self) -> int:
        """Number of test samples."""
        return len(self.test_y)

    @property
    def is_image(self) -> bool:
        """Whether a sample has three axes: height, width, channels."""
        return len(self.input_shape) == 3

    @property
    def mean(self) -> NDArray[np.float32]:
        """Mean of each channel (the last axis) of the train split, float32 ``[C]``, raw units."""
        return self._moments[0]

    @property
    def std(self) -> NDArray[np.float32]:
        """Standard deviation of each channel of the train split, float32 ``[C]``, raw units.

        A channel that is constant in the train split has 1 instead of 0: dividing by it is safe,
        and a test value that departs from the constant is not blown up.
        """
        return self._moments[1]

    @functools.cached_property
    def _moments(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, var = _moments_of(self.train_x.reshape(self.num_train, -1, self.input_shape[-1]))
        # Relative to the mean, because a constant of 0.1 has a computed deviation of 1e-17.
        std = np.where(np.sqrt(var) > 1e-6 * np.abs(mean), np.sqrt(var), 1).astype(np.float32)
        return mean.astype(np.float32), np.where(std > 0, std, np.float32(1))

    @functools.cached_property
    def checksum(self) -> str:
        """SHA-256 (hex) over name, dtype, shape and bytes of every array."""
        digest = hashlib.sha256()
        for name in ("train_x", "train_y", "test_x", "test_y", "train_user"):
            array = getattr(self, name)
            if array is not None:
                array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                digest.update(array.data)
        return digest.hexdigest()

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.input_shape))
        users = ""
        if self.train_user is not None:
            users = f", {len(np.unique(self.train_user[self.train_user >= 0])):,} users"
        return (
            f"{self.name}: {self.num_train:,} train and {self.num_test:,} test samples of "
            f"{self.train_x.dtype}[{shape}], {self.num_classes} classes{users}\n"
            f"checksum {self.checksum[:16]}"
        )


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

    uint8 features stay as they are, all other numbers become float32; ``[N, H, W]`` becomes
    ``[N, H, W, 1]``, while feature vectors ``[N, D]`` stay vectors.

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
    if x.dtype != np.uint8:
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


def _moments_of(rows: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of the last axis of ``[N, P, C]``, float64 ``[C]`` each."""
    # In pieces: a float64 copy of CIFAR-10 would take 1.2 GB.
    pieces = [rows[i : i + _ROWS_AT_ONCE] for i in range(0, len(rows), _ROWS_AT_ONCE)]
    count = rows.shape[0] * rows.shape[1]
    channels = rows.shape[2]
    if rows.dtype == np.uint8 and channels <= 4:  # counting values is six times faster, and exact
        seen = np.zeros((channels, 256))
        for piece in pieces:
            for c in range(channels):
                seen[c] += np.bincount(piece[..., c].ravel(), minlength=256)
        mean = seen @ np.arange(256) / count
        return mean, (seen * np.square(np.arange(256) - mean[:, None])).sum(axis=1) / count
    mean = sum(p.sum(axis=(0, 1), dtype=np.float64) for p in pieces) / count
    return mean, sum(np.square(p - mean).sum(axis=(0, 1)) for p in pieces) / count


def _read_only(array: NDArray) -> NDArray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
