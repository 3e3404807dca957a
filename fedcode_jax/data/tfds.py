"""Data sets of tensorflow-datasets, by name, read without TensorFlow."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcode_jax.data import prepared, preparing, speech, tfrecord
from fedcode_jax.data.arrays import from_arrays
from fedcode_jax.data.audio import SAMPLE_RATE
from fedcode_jax.data.dataset import Dataset
from fedcode_jax.errors import DataError

_TESTS = ("test", "validation")  # of a set without a test split, validation is taken
_NUMBERED = re.compile(r"[a-z]+_(\d+)")


def tfds(name: str, *, dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Reads a set of tensorflow-datasets, and downloads and prepares it first if need be.

    Nothing is downloaded if the set is prepared in ``dir``, as array_record or as tfrecord. The
    checksums of both are verified, those of array_record by its own library.
    Images and classes are those of tensorflow-datasets, byte for byte (EMNIST's images are
    transposed there). Their order is that of the original files if the examples carry a number
    (``train_00042``: CIFAR-10, CIFAR-100, SVHN), else the one in which the set was written.
    Waveforms shorter than a second end in zeros, longer ones are cut. A set without a test split
    gives its validation split for testing; other splits stay unused.

    Args:
      name: ``set`` or ``set/config``, an image-classification set or ``speech_commands``.
      dir: a folder of prepared sets (default: tensorflow-datasets' own), the folder of this one,
        or for ``speech_commands`` its extracted archive, see `speech.read_archive`.

    Returns:
      uint8 images ``[N, H, W, C]``, or int16 waveforms ``[N, 16000]``.

    Raises:
      ConfigError: tensorflow-datasets has no such set.
      DataError: it cannot be downloaded, prepared or read; it is no set of images (or one-second
        clips) with one class each; or its images differ in size.
    """
    if name == "speech_commands" and dir is not None:
        archive = Path(dir).expanduser()
        if speech.is_archive(archive):
            return speech.read_archive(archive)
    folder = prepared.find(name, dir)
    builder = preparing.prepare(name, dir) if folder is None else _open(folder)
    with prepared.quiet():
        return _read(name, builder)


def _open(folder: Path) -> Any:
    """The ``tfds.core.DatasetBuilder`` of a prepared set."""
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder_from_directory(folder)
    except ImportError as error:  # tensorflow-datasets cannot even name sounds without TensorFlow
        raise DataError(
            f"{folder}: to read it, install {error.name}; speech_commands can be read without it "
            "from its extracted archive: set data.dir to that"
        ) from error
    except Exception as error:  # of tensorflow-datasets and of protobuf
        raise DataError(
            f"{folder}: damaged, or no prepared set ({_first_line(error)}); delete the folder and "
            "prepare the set again"
        ) from error


def _read(name: str, builder: Any) -> Dataset:
    """All train and test samples of a prepared set."""
    features = builder.info.features
    sample, label = prepared.keys(name, features)
    splits = list(builder.info.splits) or ["train", "test"]  # tensorflow-datasets' mock has none
    test = next((split for split in _TESTS if split in splits), None)
    if "train" not in splits or test is None:
        raise DataError(
            f"{name}: its splits are {', '.join(splits) or 'none'}; train is needed, and test or "
            "validation"
        )
    x, y = {}, {}
    for split in ("train", test):
        x[split], y[split] = _arrays(f"{name}: {split}", builder, split, sample, label)
    return from_arrays(
        name,
        x["train"],
        y["train"],
        x[test],
        y[test],
        class_names=features[label].names,
        layout="channels_last" if x["train"].ndim > 2 else None,
        source=f"{name} ({builder.data_path})",
    )


def _arrays(
    source: str, builder: Any, split: str, sample: str, label: str
) -> tuple[NDArray, NDArray[np.int32]]:
    """Samples and labels of a split, in the original order where that is known."""
    from rich.console import Console
    from rich.progress import track

    count, examples = _examples(builder, split)
    y = np.zeros(count, np.int32)
    numbers: list[int] = []
    x: NDArray | None = None
    shown = track(
        examples,
        source,
        total=count,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    row = -1
    for row, example in enumerate(shown):
        values = np.asarray(example[sample])
        if values.ndim == 1:
            values = _one_second(values, source)
        if x is None:
            x = np.empty((count, *values.shape), values.dtype)
        if values.shape != x.shape[1:]:
            raise DataError(
                f"{source}: images of unequal size, {x.shape[1:]} in example 0 and "
                f"{values.shape} in example {row}; resize them and give them as npz"
            )
        x[row], y[row] = values, example[label]
        numbered = _NUMBERED.fullmatch(_text(example.get("id", "")))
        if numbered:
            numbers.append(int(numbered[1]))
    if x is None or row + 1 != count:
        raise DataError(
            f"{source}: {row + 1:,} of {count:,} examples are there; delete {builder.data_path} "
            "and prepare the set again"
        )
    if len(set(numbers)) == count:
        order = np.argsort(numbers)
        return x[order], y[order]
    return x, y


def _examples(builder: Any, split: str) -> tuple[int, Iterator[dict[str, Any]]]:
    """How many examples a split has, and the examples, decoded, in the order of its files."""

    def guarded(examples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        try:
            yield from examples
        except DataError:
            raise
        except Exception as error:  # three libraries and their decoders
            raise DataError(
                f"{builder.data_path}: the {split} split cannot be read "
                f"({type(error).__name__}: {_first_line(error)}); delete the folder and prepare "
                "the set again"
            ) from error

    if builder.info.file_format.value != "tfrecord":
        source = builder.as_data_source(split=split)
        return len(source), guarded(source[row] for row in range(len(source)))
    info = builder.info.splits[split]
    decode = builder.info.features.deserialize_example_np
    return info.num_examples, guarded(
        decode(record) for file in info.filepaths for record in tfrecord.records(Path(file))
    )


def _one_second(samples: NDArray, source: str) -> NDArray[np.int16]:
    if samples.dtype.kind != "i":
        raise DataError(f"{source}: clips of {samples.dtype}; integers of 16 bits are needed")
    out = np.zeros(SAMPLE_RATE, np.int16)
    out[: len(samples)] = samples[:SAMPLE_RATE]
    return out


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
