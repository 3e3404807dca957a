"""From loose arrays to a data set: checked once, here, so that nothing later has to ask."""

import collections
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcode_jax.data.dataset import Dataset
from fedcode_jax.errors import DataError

# Labels beyond this are ids or hashes, not classes: a model head of that size helps nobody.
_MOST_CLASSES = 100_000
_BYTES_AT_ONCE = 16 * 2**20
_MOST_CHANNELS = 4  # of what people call images; more are taken as they come
LAYOUTS = ("channels_last", "channels_first")
"""Where the channels of images stand: ``[N, H, W, C]`` or ``[N, C, H, W]``."""


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
    test_user: ArrayLike | None = None,
    layout: str | None = None,
    source: str | None = None,
) -> Dataset:
    """Checks arrays and makes a `Dataset` of them.

    uint8 and int16 features stay as they are, all other numbers become float32; ``[N, H, W]``
    becomes ``[N, H, W, 1]``, while feature vectors and waveforms ``[N, D]`` stay vectors.
    Images whose channels come first become ``[N, H, W, C]`` if ``layout`` says so. If it says
    nothing, samples that look so, up to 4 values on the first axis and more on both others, are
    refused.

    Args:
      name: what the data set is called.
      train_x: numbers ``[N, ...features]``.
      train_y: integers ``[N]``.
      test_x: numbers ``[T, ...features]``.
      test_y: integers ``[T]``.
      num_classes: default: one for each of ``class_names``, or the largest train label + 1.
      class_names: one a class; default ``("0", "1", ...)``.
      train_user: integers or strings ``[N]``, or None. Strings are numbered in sorted order.
      test_user: as ``train_user``, ``[T]``, in the same numbers: needs ``train_user``.
      layout: ``channels_last`` or ``channels_first``; None: channels last where nothing else is
        likely.
      source: where the arrays come from, for errors; default ``name``.

    Returns:
      The data set; it shares memory with the arrays where their dtype allows.

    Raises:
      DataError: an array is empty, not finite, of the wrong shape, kind or length, holds a
        label outside the classes, or images that do not fit ``layout``. The message names the
        array.

    Example:
      >>> data = from_arrays("toy", np.zeros((4, 8, 8), np.uint8), [0, 1, 2, 1],
      ...                    np.zeros((2, 8, 8), np.uint8), [0, 2])
      >>> data.input_shape, data.num_classes, data.is_image
      ((8, 8, 1), 3, True)
    """
    source = source or name
    x = {"train_x": _features(train_x, layout, source, "train_x")}
    x["test_x"] = _features(test_x, layout, source, "test_x")
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
    if class_names is not None:
        _check_names(class_names, num_classes, source)
    users = _users({"train_user": train_user, "test_user": test_user}, y, source)
    return Dataset(
        name=name,
        train_x=_read_only(x["train_x"]),
        train_y=_read_only(y["train_y"].astype(np.int32)),
        test_x=_read_only(x["test_x"]),
        test_y=_read_only(y["test_y"].astype(np.int32)),
        num_classes=int(num_classes),
        class_names=tuple(map(str, class_names or range(num_classes))),
        train_user=users.get("train_user"),
        test_user=users.get("test_user"),
    )


def _check_names(names: Sequence[str], num_classes: int, source: str) -> None:
    """Checks that there is a name for each class, and another one for each."""
    if len(names) != num_classes:
        raise DataError(f"{source}: class_names: {len(names)} names for {num_classes} classes")
    twice = [name for name, times in collections.Counter(map(str, names)).items() if times > 1]
    if twice:
        raise DataError(
            f"{source}: class_names: {twice[0]!r} names two classes; their figures go by name, so "
            "give each its own"
        )


def _features(values: ArrayLike, layout: str | None, source: str, name: str) -> NDArray:
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
        # In pieces, because x may be mapped from a file that is larger than the memory.
        rows = max(1, _BYTES_AT_ONCE // x[0].nbytes)
        for first in range(0, len(x), rows):
            finite = np.isfinite(x[first : first + rows]).reshape(-1, x[0].size).all(axis=1)
            if not finite.all():
                raise DataError(
                    f"{source}: {name}: row {first + int(finite.argmin())} holds a value that is "
                    "not finite in float32; remove or repair such samples"
                )
    return _laid(x, layout, source, name)


def _laid(x: NDArray, layout: str | None, source: str, name: str) -> NDArray:
    """Samples with their channels, if they have any, on the last axis."""
    shape = x.shape[1:]
    if layout not in (None, *LAYOUTS):
        raise DataError(f"{source}: data.layout: {layout!r} is unknown; {' or '.join(LAYOUTS)}")
    if layout is not None and x.ndim == 2:
        raise DataError(
            f"{source}: {name}: samples of shape {shape} have no channels, but data.layout is "
            f"{layout}; leave it out"
        )
    if x.ndim == 4:
        looks_first, looks_last = (_is_few(one) for one in (shape, shape[::-1]))
        if layout is None and looks_first:
            raise DataError(
                f"{source}: {name}: samples of shape {shape} look like images of {shape[0]} "
                "channels that come first; set data.layout to channels_first, or to channels_last "
                f"if they are {shape[0]} x {shape[1]} with {shape[2]} channels"
            )
        if layout == "channels_first" and looks_last:
            raise DataError(
                f"{source}: {name}: samples of shape {shape} have their channels last, but "
                "data.layout is channels_first; leave it out"
            )
    if layout == "channels_first":
        if x.ndim != 4:
            raise DataError(
                f"{source}: {name}: shape {x.shape}, but data.layout is channels_first, which "
                "needs [N, channels, height, width]"
            )
        return np.moveaxis(x, 1, -1)
    return x[..., None] if x.ndim == 3 else x


def _is_few(shape: tuple[int, ...]) -> bool:
    """Whether the first axis alone is as short as that of channels is."""
    return shape[0] <= _MOST_CHANNELS < min(shape[1:])


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


def _users(
    columns: dict[str, ArrayLike | None], labels: dict[str, NDArray], source: str
) -> dict[str, NDArray[np.int32]]:
    """The columns that are given, as numbers that mean the same in all of them."""
    users = {name: np.asarray(ids) for name, ids in columns.items() if ids is not None}
    for name, ids in users.items():
        if ids.dtype.kind not in "iuUS":
            raise DataError(
                f"{source}: {name}: dtype {ids.dtype}; users must be integers or strings"
            )
        split = name.partition("_")[0]
        length = len(labels[f"{split}_y"])
        if ids.shape != (length,):
            raise DataError(
                f"{source}: {name}: shape {ids.shape}, but {split}_x has {length} samples; one "
                f"user each is needed, shape ({length},)"
            )
        unnamed = [row for row, user in enumerate(ids.tolist()) if user in ("", b"")]
        if unnamed:
            raise DataError(
                f"{source}: {name}: row {unnamed[0]} is empty; name the user of every sample, or "
                "use integers, negative for a sample that is nobody's"
            )
    if not users:
        return {}
    if "train_user" not in users:
        raise DataError(f"{source}: test_user without train_user; give both, or neither")
    if len({ids.dtype.kind in "US" for ids in users.values()}) > 1:
        raise DataError(
            f"{source}: test_user: {users['test_user'].dtype}, but train_user is "
            f"{users['train_user'].dtype}; use integers in both, or strings in both"
        )
    limits = np.iinfo(np.int32)
    if all(
        ids.dtype.kind in "iu" and limits.min <= ids.min() and ids.max() <= limits.max
        for ids in users.values()
    ):
        return {name: _read_only(ids.astype(np.int32)) for name, ids in users.items()}
    everyone = joined(list(users.values()))
    known, numbers = np.unique(everyone, return_inverse=True)
    negative = int(np.searchsorted(known, 0)) if everyone.dtype.kind == "i" else 0
    numbers = (numbers - negative).astype(np.int32)  # negative users stay negative
    ends = np.cumsum([len(ids) for ids in users.values()])[:-1]
    return dict(zip(users, map(_read_only, np.split(numbers, ends)), strict=True))


def joined(arrays: Sequence[NDArray]) -> NDArray:
    """Arrays one after the other; whole numbers of any dtypes stay whole, and what they are.

    Args:
      arrays: all of whole numbers, or all of one other kind.

    Returns:
      They in one.

    Raises:
      OverflowError: negative numbers beside some above 2^63 - 1.

    Example:
      >>> joined([np.uint64([2**63]), np.int64([1])]).tolist()
      [9223372036854775808, 1]
    """
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1 or any(dtype.kind not in "iu" for dtype in dtypes):
        return np.concatenate(arrays)
    whole = [int(end) for array in arrays if array.size for end in (array.min(), array.max())]
    if not whole or max(whole) < 2**63:
        return np.concatenate([array.astype(np.int64) for array in arrays])
    if min(whole) < 0:
        raise OverflowError("negative numbers beside some above 2^63 - 1")
    return np.concatenate([array.astype(np.uint64) for array in arrays])


def _read_only(array: NDArray) -> NDArray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
