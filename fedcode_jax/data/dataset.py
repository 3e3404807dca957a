"""The data set: two splits in raw units, with what follows from them."""

import dataclasses
import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test split in raw units, made by `data.from_arrays`. The arrays are read-only.

    Attributes:
      name: what it is called in tables and errors.
      train_x: uint8, int16 or float32 ``[N, ...features]``; images are ``[N, H, W, C]``,
        channels last, and so are spectrograms, ``[N, time, band, 1]``.
      train_y: int32 ``[N]``, classes ``0 .. num_classes - 1``.
      test_x: as ``train_x``, ``[T, ...features]``.
      test_y: as ``train_y``, ``[T]``.
      num_classes: how many classes the model must tell apart.
      class_names: one name a class.
      train_user: int32 ``[N]``, whose sample each is (negative: nobody's), or None.
      test_user: int32 ``[T]``, the same of the test samples, numbered alike, or None.
    """

    name: str
    train_x: NDArray
    train_y: NDArray[np.int32]
    test_x: NDArray
    test_y: NDArray[np.int32]
    num_classes: int
    class_names: tuple[str, ...]
    train_user: NDArray[np.int32] | None = None
    test_user: NDArray[np.int32] | None = None

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
        for name in ("train_x", "train_y", "test_x", "test_y", "train_user", "test_user"):
            array = getattr(self, name)
            if array is not None:
                array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                digest.update(array.data)
        return digest.hexdigest()

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.input_shape))
        pixels = ""
        if self.is_image:  # said in words, because channels that come first would pass for rows
            height, width, channels = self.input_shape
            pixels = f" ({height} x {width} with {channels} channel{'s' * (channels > 1)})"
        users = ""
        if self.train_user is not None:
            users = f", {len(np.unique(self.train_user[self.train_user >= 0])):,} users"
        absent = self.num_classes - len(np.unique(self.train_y))
        classes = f"{self.num_classes} classes"
        if absent:
            classes += f" ({absent} without a train sample)"
        return (
            f"{self.name}: {self.num_train:,} train and {self.num_test:,} test samples of "
            f"{self.train_x.dtype}[{shape}]{pixels}, {classes}{users}\n"
            f"checksum {self.checksum[:16]}"
        )


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
