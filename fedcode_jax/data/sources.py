"""Where data sets come from: one function a source, found by name."""

import functools
import inspect
import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedcode_jax.data import prepared
from fedcode_jax.data.arrays import from_arrays
from fedcode_jax.data.audio import with_features
from fedcode_jax.data.dataset import Dataset
from fedcode_jax.data.npz import npz
from fedcode_jax.data.tfds import tfds
from fedcode_jax.errors import ConfigError

_STREAM = 0x5E7  # keeps these draws apart from other uses of the same seed
_ROWS_AT_ONCE = 1024
_COARSE = 4
FEATURES = {"speech_commands": "log_mel"}
"""What a model sees of a source, if it is not raw."""


def load(
    name: str,
    *,
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    dir: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    shape: Sequence[int] | None = None,
    layout: str | None = None,
    features: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Loads a data set by name; an option left at None takes the source's own default.

    Args:
      name: ``digits``, ``npz``, ``synthetic``, or a set of tensorflow-datasets, see `tfds`.
      path: npz: one file, or several.
      dir: sets of tensorflow-datasets: the folder of prepared sets.
      num_classes: npz, synthetic: number of classes.
      train_size: synthetic: number of train samples.
      test_size: synthetic: number of test samples.
      shape: synthetic: shape of a sample.
      layout: npz: where the channels of images stand, see `from_arrays`.
      features: ``raw`` or ``log_mel``, see `audio.with_features`; default: ``log_mel`` for
        speech_commands, else ``raw``.
      seed: the experiment's seed; only sources that draw random numbers depend on it (synthetic).

    Returns:
      The data set.

    Raises:
      ConfigError: the name is unknown, an option has a bad value, or belongs to another source.
      DataError: files are missing or malformed.

    Example:
      >>> load("synthetic", shape=(3,), num_classes=4, train_size=8, test_size=4).train_x.shape
      (8, 3)
      >>> load("digits", path="x.npz")
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: data.path: ... is only read by data.name npz, not by digits
    """
    source = find(name, dir)
    options = {
        "path": path,
        "dir": dir,
        "num_classes": num_classes,
        "train_size": train_size,
        "test_size": test_size,
        "shape": shape,
        "layout": layout,
    }
    given = {option: value for option, value in options.items() if value is not None}
    taken = inspect.signature(source).parameters
    for option, value in given.items():
        if option not in taken:
            readers = [n for n, f in _OWN.items() if option in inspect.signature(f).parameters]
            raise ConfigError(
                f"data.{option}: {value!r} is only read by data.name "
                f"{' or '.join(readers) or 'a set of tensorflow-datasets'}, not by {name}"
            )
    if num_classes is not None:
        _at_least("data.num_classes", num_classes, 1)
    dataset = source(**given, **({"seed": seed} if "seed" in taken else {}))
    return with_features(dataset, features or FEATURES.get(name, "raw"))


def find(name: str, dir: str | os.PathLike[str] | None = None) -> Callable[..., Dataset]:
    """The source of a name: one of `registry`, or any set that tensorflow-datasets can read.

    Args:
      name: the data set.
      dir: the folder of prepared sets, which may hold sets of the user's own.

    Returns:
      The function that loads it.

    Raises:
      ConfigError: the name is unknown; the nearest is suggested.

    Example:
      >>> find("digits") is digits
      True
    """
    if name in registry:
        return registry[name]
    if prepared.find(name, dir) is None:
        prepared.check(name, "data.name", tuple(_OWN))
    return functools.partial(tfds, name)


def digits() -> Dataset:
    """scikit-learn's handwritten digits: 1,437 train and 360 test images, uint8 ``[8, 8, 1]``.

    Values 0..16. The split is stratified and uses no random numbers: of each class, test samples
    are taken at equal distances in the original order, so it is the same for every seed, machine
    and version.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998,
    https://doi.org/10.24432/C50P49 (its test part).

    Example:
      >>> print(str(digits()).splitlines()[0])
      digits: 1,437 train and 360 test samples of uint8[8, 8, 1] (8 x 8 with 1 channel), 10 classes
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    test = _stratified(labels, 360)
    return from_arrays("digits", images[~test], labels[~test], images[test], labels[test])


def synthetic(
    *,
    num_classes: int = 10,
    train_size: int = 2000,
    test_size: int = 500,
    shape: Sequence[int] = (8, 8, 1),
    seed: int = 0,
) -> Dataset:
    """Gaussian classes of any shape: a task of known difficulty for tests and benchmarks.

    A sample of class y is m_y + e with e ~ N(0, I) in d dimensions; the class means are
    m_y ~ N(0, s^2 I) with s^2 = 25 / (2 d), so two means are about 5 noise deviations apart
    whatever d is: two classes overlap by about 1 %, ten by a few per cent. Features of three axes
    are images: there, m and e live on a grid of at most 4 x 4 cells a channel, are spread over the
    pixels with a little white noise, and are written as uint8 (128 + 32 x, clipped). Other
    features are float32 x itself. Classes are of equal size, to one sample.

    Args:
      num_classes: number of classes.
      train_size: number of train samples.
      test_size: number of test samples.
      shape: shape of a sample.
      seed: everything follows from it.

    Returns:
      The data set.

    Raises:
      ConfigError: an option is not a positive integer.

    Example:
      >>> data = synthetic(num_classes=3, train_size=6, test_size=3, shape=(8, 8, 3))
      >>> data.train_x.dtype.name, np.bincount(data.train_y).tolist()
      ('uint8', [2, 2, 2])
    """
    _at_least("data.num_classes", num_classes, 1)
    _at_least("data.train_size", train_size, 1)
    _at_least("data.test_size", test_size, 1)
    _at_least("seed", seed, 0)
    shape = tuple(shape)
    if not shape:
        raise ConfigError("data.shape: (); a sample needs at least one axis")
    for axis in shape:
        _at_least("data.shape", axis, 1)
    rng = np.random.default_rng([_STREAM, seed])
    latent = (*(min(n, _COARSE) for n in shape[:2]), shape[2]) if len(shape) == 3 else shape
    scale = 5 / np.sqrt(2 * np.prod(latent))
    means = (scale * rng.standard_normal((num_classes, *latent))).astype(np.float32)
    train_y = rng.permutation(train_size) % num_classes
    test_y = rng.permutation(test_size) % num_classes
    return from_arrays(
        "synthetic",
        _draw(rng, means, train_y, shape),
        train_y,
        _draw(rng, means, test_y, shape),
        test_y,
        num_classes=num_classes,
        layout="channels_last" if len(shape) > 1 else None,
    )


def _draw(
    rng: np.random.Generator, means: NDArray, labels: NDArray, shape: tuple[int, ...]
) -> NDArray:
    """One sample a label: float32, or uint8 if ``shape`` is that of an image."""
    image = len(shape) == 3
    out = np.empty((len(labels), *shape), np.uint8 if image else np.float32)
    for start in range(0, len(labels), _ROWS_AT_ONCE):  # in pieces, to keep the floats few
        mean = means[labels[start : start + _ROWS_AT_ONCE]]
        x = mean + rng.standard_normal(mean.shape, dtype=np.float32)
        if image:
            rows, columns = (np.arange(n) * min(n, _COARSE) // n for n in shape[:2])
            x = x[:, rows][:, :, columns]
            x = x + 0.25 * rng.standard_normal(x.shape, dtype=np.float32)
            x = np.clip(np.rint(128 + 32 * x), 0, 255)
        out[start : start + _ROWS_AT_ONCE] = x
    return out


def _stratified(labels: NDArray, size: int) -> NDArray[np.bool_]:
    """Marks ``size`` samples, of each class its share, at equal distances within the class."""
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * size / len(labels)
    take = np.floor(exact).astype(int)
    rest = np.argsort(take - exact, kind="stable")[: size - take.sum()]  # largest remainders
    take[rest] += 1
    marked = np.zeros(len(labels), bool)
    for cls, count, k in zip(classes, counts, take, strict=True):
        marked[np.flatnonzero(labels == cls)[(2 * np.arange(k) + 1) * count // (2 * k)]] = True
    return marked


def _at_least(setting: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{setting}: {value!r} is not an integer of at least {least}")


_OWN: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "npz": npz,
    "synthetic": synthetic,
}

registry: dict[str, Callable[..., Dataset]] = {
    **_OWN,
    **{name: functools.partial(tfds, name) for name in prepared.KNOWN},
}
