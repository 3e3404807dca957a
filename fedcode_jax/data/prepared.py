"""Folders of tensorflow-datasets: which sets it has, and which are prepared."""

import contextlib
import difflib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedcode_jax.data.audio import SAMPLE_RATE
from fedcode_jax.errors import ConfigError, DataError

_NAME = re.compile(r"\w+(/\w[\w.-]*)?")  # nothing that leads out of the folder of sets
_VERSION = re.compile(r"\d+\.\d+\.\d+")
INFO = "dataset_info.json"


class Known(NamedTuple):
    """A set of tensorflow-datasets that is known by heart."""

    what: str
    train: int
    test: int
    shape: str
    tensorflow: bool = False


KNOWN: dict[str, Known] = {
    "cifar10": Known("photographs of 10 things", 50_000, 10_000, "32 x 32 x 3"),
    "cifar100": Known("photographs of 100 things", 50_000, 10_000, "32 x 32 x 3"),
    "emnist/balanced": Known("handwriting, 47 classes", 112_800, 18_800, "28 x 28 x 1"),
    "emnist/byclass": Known("handwriting, 62 classes", 697_932, 116_323, "28 x 28 x 1"),
    "emnist/bymerge": Known("handwriting, 47 classes", 697_932, 116_323, "28 x 28 x 1"),
    "emnist/digits": Known("handwritten digits", 240_000, 40_000, "28 x 28 x 1"),
    "emnist/letters": Known("handwritten letters", 88_800, 14_800, "28 x 28 x 1"),
    "emnist/mnist": Known("handwritten digits", 60_000, 10_000, "28 x 28 x 1"),
    "fashion_mnist": Known("pictures of 10 kinds of clothes", 60_000, 10_000, "28 x 28 x 1"),
    "mnist": Known("handwritten digits", 60_000, 10_000, "28 x 28 x 1"),
    "speech_commands": Known("spoken words, 12 classes", 85_511, 4_890, "16,000", True),
    "svhn_cropped": Known("digits of house numbers", 73_257, 26_032, "32 x 32 x 3"),
}
"""By name; any other image-classification set of tensorflow-datasets can be used as well."""


def default_dir() -> Path:
    """Where tensorflow-datasets keeps its sets: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find(name: str, dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder of a prepared set, or None.

    Args:
      name: ``set`` or ``set/config``.
      dir: a folder of prepared sets (default `default_dir`), or the folder of this one itself.

    Returns:
      The folder with the set's ``dataset_info.json``, of its newest version.

    Raises:
      DataError: ``dir`` is a file, or the folder of another set.
    """
    root = default_dir() if dir is None else Path(dir).expanduser()
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file, not a folder of prepared sets")
    if (root / INFO).is_file():
        held = _held(root)
        if name not in (held, held.partition("/")[0]):
            raise DataError(f"{root}: holds {held}, not {name}; set data.name to {held}")
        return root
    if not _NAME.fullmatch(name):
        return None
    base, _, config = name.partition("/")
    folder = root / base / (config or _default_config(root / base))
    if not folder.is_dir():
        return None
    versions = [f for f in folder.iterdir() if _VERSION.fullmatch(f.name) and (f / INFO).is_file()]
    return max(versions, key=lambda f: tuple(map(int, f.name.split("."))), default=None)


def sizes(folder: Path) -> dict[str, int]:
    """Number of samples of each split of a prepared set, from its ``dataset_info.json``."""
    splits = _read_json(folder / INFO).get("splits", [])
    return {split["name"]: sum(map(int, split["shardLengths"])) for split in splits}


def found(dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of all sets that are prepared in a folder, sorted."""
    root = default_dir() if dir is None else Path(dir).expanduser()
    infos = [*root.glob(f"*/*/{INFO}"), *root.glob(f"*/*/*/{INFO}")]
    return sorted({_held(file.parent) for file in infos if _VERSION.fullmatch(file.parent.name)})


def check(name: str, setting: str = "data.name", known: tuple[str, ...] = ()) -> None:
    """Checks that tensorflow-datasets has a set of this name.

    Args:
      name: ``set`` or ``set/config``.
      setting: what the user gave it as, for the error.
      known: other names to suggest.

    Raises:
      ConfigError: it has not; the nearest name is suggested.
    """
    import tensorflow_datasets as tfds

    builders = tfds.list_builders(with_community_datasets=False)
    base, _, config = name.partition("/")
    configs = []
    if _NAME.fullmatch(name) and base in builders:
        if not config:
            return
        with contextlib.suppress(ImportError):  # its code needs TensorFlow
            configs = list(tfds.builder_cls(base).builder_configs)
            if config in configs:
                return
    pool = [*known, *KNOWN, *builders, *(f"{base}/{each}" for each in configs)]
    near = difflib.get_close_matches(name, pool, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    names = ", ".join(sorted({*known, *KNOWN}))
    raise ConfigError(
        f"{setting}: unknown name {name!r}.{hint} Known: {names}, and any other "
        "image-classification set of tensorflow-datasets"
    )


def keys(name: str, features: Any) -> tuple[str, str]:
    """The features of a set that hold the sample and its class.

    Args:
      name: the set, for the error.
      features: its ``tfds.features.FeaturesDict``.

    Returns:
      The two keys of an example.

    Raises:
      DataError: it is no set of images, or of clips of 16,000 samples a second, with one class
        each.
    """
    kinds = {key: type(feature).__name__ for key, feature in features.items()}
    samples = [key for key, kind in kinds.items() if kind in ("Image", "Audio")]
    labels = [key for key, kind in kinds.items() if kind == "ClassLabel"]
    labels = ["label"] if "label" in labels else labels  # CIFAR-100 has a coarser class as well
    if len(samples) != 1 or len(labels) != 1:
        listed = ", ".join(f"{key} ({kind})" for key, kind in kinds.items())
        raise DataError(
            f"{name}: an example holds {listed}; one image (or clip) and one class are needed"
        )
    rate = getattr(features[samples[0]], "sample_rate", None)
    if rate not in (None, SAMPLE_RATE):
        raise DataError(
            f"{name}: clips of {rate:,} samples a second; {SAMPLE_RATE:,} are needed: resample "
            "them and give them as npz"
        )
    return samples[0], labels[0]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps from the log what tensorflow-datasets tells of its inner life."""
    logger = logging.getLogger("absl")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        yield
    finally:
        logger.setLevel(level)


def _held(folder: Path) -> str:
    """Name of the set that is prepared in a folder."""
    info = _read_json(folder / INFO)
    return "/".join(filter(None, (info.get("name"), info.get("configName"))))


def _default_config(folder: Path) -> str:
    """The configuration that tensorflow-datasets takes if none is named; empty if it has none."""
    file = folder / ".config" / "metadata.json"
    return str(_read_json(file).get("default_config_name", "")) if file.is_file() else ""


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read; delete its folder, then prepare the set again"
        ) from error
