"""Data sets from .npz files: read without pickle, every defect named with its file."""

import contextlib
import errno
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedcode_jax.data.arrays import from_arrays, joined
from fedcode_jax.data.dataset import Dataset
from fedcode_jax.errors import ConfigError, DataError
from fedcode_jax.names import looked_in

_NEEDED = ("train_x", "train_y", "test_x", "test_y")
# The first of the two spellings of the class names is ours, the second is found in the wild.
_OPTIONAL = ("train_user", "test_user", "class_names", "label_names")
# From this size on, a member that is not compressed is mapped into memory rather than read.
_MAPPED_FROM = 256 * 2**20
_BYTES_AT_ONCE = 16 * 2**20

PathLike = str | os.PathLike[str]


def npz(
    *,
    path: PathLike | Sequence[PathLike] | None = None,
    num_classes: int | None = None,
    layout: str | None = None,
) -> Dataset:
    """Reads a data set from one .npz file, or from several, put one after the other.

    Each file holds ``train_x``, ``train_y``, ``test_x``, ``test_y`` (see `from_arrays`), and may
    hold ``train_user`` and ``test_user`` (integers or strings, one a sample) and ``class_names``.
    Other members are left alone.

    From 256 MB on, a member of a single file that is not compressed (``numpy.savez``) is not read
    into memory but mapped: its pages come from the disk as they are used, and nothing is copied if
    its dtype is uint8, int16 or float32 and channels come last.

    Args:
      path: one file, or a sequence of files.
      num_classes: see `from_arrays`.
      layout: see `from_arrays`.

    Returns:
      The data set, named after its files.

    Raises:
      ConfigError: no path.
      DataError: a file is missing, unreadable or incomplete, or the files do not fit together.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = f"{folder}/toy.npz"
      ...     x, y = np.eye(3), [0, 1, 2]
      ...     np.savez(file, train_x=x, train_y=y, test_x=x, test_y=y)
      ...     print(str(npz(path=file)).splitlines()[0])
      toy: 3 train and 3 test samples of float32[3], 3 classes
    """
    if path is None or isinstance(path, str | os.PathLike):
        paths = [path] if path else []
    else:
        paths = list(path)
    if not paths:
        raise ConfigError("data.path: not set; data.name npz needs one .npz file, or several")
    files = [Path(p).expanduser() for p in paths]
    parts = [_read(file) for file in files]
    for file, part in zip(files, parts, strict=True):
        _check_alike(file, part, files[0], parts[0])
    names = parts[0].get("class_names")
    return from_arrays(
        "+".join(file.stem for file in files),
        **{name: _joined(name, parts, files) for name in parts[0] if name != "class_names"},
        num_classes=num_classes,
        layout=layout,
        class_names=None if names is None else [_text(n) for n in names.tolist()],
        source=", ".join(map(str, files)),
    )


def _joined(name: str, parts: list[dict[str, NDArray]], files: list[Path]) -> NDArray:
    arrays = [part[name] for part in parts]
    try:
        return arrays[0] if len(arrays) == 1 else joined(arrays)
    except OverflowError as error:
        raise DataError(f"{files[0]} and those after it: {name}: {error}") from error


def _read(file: Path) -> dict[str, NDArray]:
    """The known members of one file; ``label_names`` is given as ``class_names``."""
    if not file.is_file():
        what = "a folder, not a file" if file.is_dir() else f"no such file{looked_in(file)}"
        raise DataError(f"{file}: {what}; set data.path to an .npz file")
    arrays = {}
    try:
        # Opened here, because numpy.load does not close a file that turns out to be damaged.
        with open(file, "rb") as stream, _open(stream, file) as archive:
            _check_names(archive, file)
            missing = [name for name in _NEEDED if name not in archive.files]
            if missing:
                raise DataError(
                    f"{file}: no array {', '.join(missing)}; it holds "
                    f"{', '.join(archive.files) or 'nothing'}. Needed: {', '.join(_NEEDED)}"
                )
            for name in (*_NEEDED, *_OPTIONAL):
                if name in archive.files:
                    arrays[name] = _member(archive, name, file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    names = arrays.pop("label_names", None)
    if names is not None:
        arrays.setdefault("class_names", names)
    return arrays


def _open(stream: BinaryIO, file: Path) -> np.lib.npyio.NpzFile:
    if not zipfile.is_zipfile(stream):
        raise DataError(
            f"{file}: not an .npz file (not a zip, or cut short); write it with numpy.savez, "
            "or copy it again"
        )
    stream.seek(0)
    with _damage_told(f"{file}"):
        return np.load(stream, allow_pickle=False)


def _check_names(archive: np.lib.npyio.NpzFile, file: Path) -> None:
    """Holds the names in the archive's directory, which has no checksum, against its members'."""
    assert archive.zip is not None
    with _damage_told(f"{file}"):
        for member in archive.zip.infolist():
            archive.zip.open(member).close()


def _member(archive: np.lib.npyio.NpzFile, name: str, file: Path) -> NDArray:
    with _damage_told(f"{file}: {name}"):
        array = None if archive.zip is None else _mapped(archive.zip, name, file)
        if array is None:
            array = archive[name]
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise DataError(f"{file}: {name}: a single value or raw bytes, not an array of samples")
    return array


@contextlib.contextmanager
def _damage_told(what: str) -> Iterator[None]:
    """Turns whatever damaged bytes raise into our error; an error of the disk stays one.

    zipfile, its decompressors and the parser of numpy's headers, which is Python's own, raise what
    they like, and another thing in another version of Python.
    """
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{what}: too large for this machine's memory") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the file
            raise
        if "allow_pickle=False" in str(error):
            raise DataError(
                f"{what}: an object array, which is not read because unpickling can run code; save "
                "it with a plain dtype (equal shapes, numbers or fixed-width strings)"
            ) from error
        reason = " ".join(str(error).split())  # some of numpy's are several lines
        raise DataError(f"{what}: damaged; copy or write it again ({reason})") from error


def _mapped(archive: zipfile.ZipFile, name: str, file: Path) -> NDArray | None:
    """The member as a read-only map of the file, or None if it is to be read.

    Raises:
      ValueError: its header or its bytes are damaged.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size < _MAPPED_FROM:
        return None
    with open(file, "rb") as stream:
        # The local header's extra field has a length of its own, which only it tells.
        stream.seek(member.header_offset + 26)
        start = member.header_offset + 30 + sum(struct.unpack("<HH", stream.read(4)))
        stream.seek(start)
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            return None
        shape, fortran_order, dtype = read_header(stream)
        offset = stream.tell()
    if dtype.hasobject:
        return None
    if offset - start + dtype.itemsize * math.prod(shape) != member.file_size:
        raise ValueError("its shape does not fit its size")
    whole = np.memmap(file, np.uint8, "r", start, (member.file_size,))
    crc = 0
    for first in range(0, len(whole), _BYTES_AT_ONCE):
        crc = zlib.crc32(whole[first : first + _BYTES_AT_ONCE].data, crc)
    if crc != member.CRC:
        raise ValueError("its checksum does not match")
    return np.memmap(file, dtype, "r", offset, shape, "F" if fortran_order else "C")


def _check_alike(file: Path, part: dict[str, NDArray], first: Path, model: dict) -> None:
    """Raises DataError if ``part`` cannot follow ``model``, the arrays of the first file."""
    for name in ("train_x", "test_x"):
        # Equal dtypes, because uint8 0..255 joined to floats 0..1 would pass every later check.
        ours, theirs = part[name], model[name]
        if ours.shape[1:] != theirs.shape[1:] or ours.dtype != theirs.dtype:
            raise DataError(
                f"{file}: {name}: samples {ours.dtype}{list(ours.shape[1:])}, but those of {first} "
                f"are {theirs.dtype}{list(theirs.shape[1:])}; files read together must agree"
            )
    # Each file is checked by itself: a missing label here must not be made up for there.
    for y in ("train_y", "test_y", "train_user", "test_user"):
        x = f"{y.partition('_')[0]}_x"
        if y in part and (part[y].ndim != 1 or len(part[y]) != len(part[x])):
            raise DataError(
                f"{file}: {y}: shape {part[y].shape}, but {x} has {len(part[x])} samples; "
                f"one value each is needed, shape ({len(part[x])},)"
            )
    for name in ("train_user", "test_user", "class_names"):
        if (name in part) != (name in model):
            with_it, without = (file, first) if name in part else (first, file)
            raise DataError(f"{without}: no array {name}, but {with_it} has one")
    for name in ("train_user", "test_user"):
        if name in part and _family(part[name]) != _family(model[name]):
            raise DataError(
                f"{file}: {name}: dtype {part[name].dtype}, but that of {first} is "
                f"{model[name].dtype}; use integers in all files, or strings in all"
            )
    if "class_names" in part and part["class_names"].tolist() != model["class_names"].tolist():
        raise DataError(f"{file}: class_names: not those of {first}; the labels would not match")


def _family(array: NDArray) -> str:
    return "integer" if array.dtype.kind in "iu" else array.dtype.kind


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
