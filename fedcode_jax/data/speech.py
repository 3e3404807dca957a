"""Speech Commands from its extracted archive: twelve classes, and who spoke."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedcode_jax.data.arrays import from_arrays
from fedcode_jax.data.audio import SAMPLE_RATE
from fedcode_jax.data.dataset import Dataset
from fedcode_jax.data.wav import read_wav
from fedcode_jax.errors import DataError

WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
SILENCE, UNKNOWN = "_silence_", "_unknown_"
CLASSES = (*WORDS, SILENCE, UNKNOWN)
"""In the order of tensorflow-datasets."""

_TEST_FOLDERS = ("test", "speech_commands_test_set_v0.02")
_LISTS = ("validation_list.txt", "testing_list.txt")
_NOISE = "_background_noise_"
_HELD_OUT_NOISE = "running_tap.wav"  # no silence of the train split comes from it
_SPEAKER = re.compile(r"([^_]+)_nohash_\d+\.wav")
_AGAIN = "extract speech_commands_v0.02.tar.gz again"


class _Clip(NamedTuple):
    """A recording, and what its place in the archive says of it."""

    file: Path
    label: int
    speaker: str | None  # None: nobody


def is_archive(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is the extracted archive of Speech Commands, or a part of it.

    Example:
      >>> is_archive("no/such/folder")
      False
    """
    return any((Path(folder) / name).exists() for name in (*_LISTS, _NOISE))


def read_archive(folder: str | os.PathLike[str]) -> Dataset:
    """Reads the extracted archive of Speech Commands v0.02 as waveforms of twelve classes.

    The rules are those of tensorflow-datasets: ten words have a class each, all other words are
    ``_unknown_``, and ``_silence_`` is cut from the files of ``_background_noise_``, a second at
    every half second. The train split is what neither of the archive's two lists names, without
    the noise of ``running_tap.wav`` (85,511 clips); the validation list stays unused.

    The test split is the official test archive (4,890 clips), if it lies extracted in the folder
    as ``test`` or ``speech_commands_test_set_v0.02``. Else it is made from what the train split
    leaves out: all clips that ``testing_list.txt`` names, words and ``_unknown_``, and as silence
    the cuts of ``running_tap.wav``; about two thirds of it are then ``_unknown_``, so accuracies
    of the two must not be compared.

    A user is a speaker, numbered in sorted order; silence is nobody's (-1). Clips shorter than a
    second end in zeros, longer ones are cut.

    Args:
      folder: holds a folder a word, ``_background_noise_`` and the two lists.

    Returns:
      int16 ``[N, 16000]``, to be divided by 32,768; N is ordered by folder and file name, silence
      last.

    Raises:
      DataError: a list, a class or a clip is missing, a clip is malformed (see `read_wav`), or a
        name does not tell the speaker.

    Source: P. Warden 2018, https://arxiv.org/abs/1804.03209;
    https://www.tensorflow.org/datasets/catalog/speech_commands.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {_AGAIN} there")
    validation, testing = (_listed(root / name) for name in _LISTS)
    files = {f"{file.parent.name}/{file.name}": file for file in _clips(root)}
    held_out = validation | testing
    lost = sorted(held_out - set(files))
    if lost:
        raise DataError(
            f"{root}: {len(lost):,} clips of the lists are missing, {lost[0]} the first; {_AGAIN}"
        )
    noise = sorted((root / _NOISE).glob("*.wav"))
    train = [_clip(file) for name, file in files.items() if name not in held_out]
    train_silence = _silence(file for file in noise if file.name != _HELD_OUT_NOISE)
    official = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
    if official is not None:
        test, test_silence = [_clip(file) for file in _clips(official)], []
    else:
        test = [_clip(files[name]) for name in sorted(testing)]
        test_silence = _silence(file for file in noise if file.name == _HELD_OUT_NOISE)
    _check_classes(train, train_silence, f"{root}: train")
    _check_classes(test, test_silence, f"{official or root}: test")

    names = sorted({clip.speaker for clip in (*train, *test) if clip.speaker is not None})
    numbers = {name: number for number, name in enumerate(names)}
    train_x, train_y, train_user = _arrays(train, train_silence, numbers)
    test_x, test_y, test_user = _arrays(test, test_silence, numbers)
    return from_arrays(
        "speech_commands",
        train_x,
        train_y,
        test_x,
        test_y,
        class_names=CLASSES,
        train_user=train_user,
        test_user=test_user,
        source=str(root),
    )


def _listed(file: Path) -> set[str]:
    try:
        return set(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read; {_AGAIN}") from error


def _clips(folder: Path) -> list[Path]:
    """All spoken clips, by folder and name."""
    others = (_NOISE, *_TEST_FOLDERS)
    words = [f for f in folder.iterdir() if f.name not in others and not f.name.startswith(".")]
    return sorted(file for word in words for file in word.glob("[!.]*.wav"))


def _clip(file: Path) -> _Clip:
    word = file.parent.name
    label = CLASSES.index(word) if word in CLASSES else CLASSES.index(UNKNOWN)
    if word == SILENCE:
        return _Clip(file, label, None)
    spoken = _SPEAKER.search(file.name)  # the test archive has the word before it
    if not spoken:
        raise DataError(
            f"{file}: the name does not tell the speaker; clips are called SPEAKER_nohash_N.wav"
        )
    return _Clip(file, label, spoken[1])


def _silence(files: Iterable[Path]) -> list[NDArray[np.int16]]:
    """A second of noise at every half second; the last ends before the end of its file."""
    cuts = []
    for file in files:
        samples = read_wav(file)
        for start in range(0, len(samples) - SAMPLE_RATE, SAMPLE_RATE // 2):
            cuts.append(samples[start : start + SAMPLE_RATE])
    return cuts


def _check_classes(clips: list[_Clip], silence: list[NDArray[np.int16]], split: str) -> None:
    """Raises DataError if one of the twelve classes is missing."""
    labels = {clip.label for clip in clips} | ({CLASSES.index(SILENCE)} if silence else set())
    for label, name in enumerate(CLASSES):
        if label not in labels:
            source = {
                SILENCE: f"from the files in {_NOISE}",
                UNKNOWN: "from folders of other words",
            }
            raise DataError(
                f"{split}: no clip of class {name}, which comes "
                f"{source.get(name, f'from the folder {name}')}; {_AGAIN}"
            )


def _arrays(
    clips: list[_Clip], silence: list[NDArray[np.int16]], numbers: dict[str, int]
) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.int32]]:
    """Waveforms, labels and users of clips, and then of silence."""
    x = np.zeros((len(clips) + len(silence), SAMPLE_RATE), np.int16)
    y = np.full(len(x), CLASSES.index(SILENCE), np.int32)
    user = np.full(len(x), -1, np.int32)
    for row, clip in enumerate(clips):
        samples = read_wav(clip.file)[:SAMPLE_RATE]
        x[row, : len(samples)] = samples
        y[row] = clip.label
        user[row] = -1 if clip.speaker is None else numbers[clip.speaker]
    for row, cut in enumerate(silence, len(clips)):
        x[row] = cut
    return x, y, user
