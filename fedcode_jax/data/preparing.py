"""Downloads sets of tensorflow-datasets, and writes them to be read without TensorFlow."""

import contextlib
import importlib.util
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fedcode_jax.data import prepared
from fedcode_jax.errors import DataError

_RETRIES = 3  # tensorflow-datasets' own ten take three and a half minutes without a network


def prepare(name: str, dir: str | os.PathLike[str] | None = None) -> Any:
    """Downloads a set and writes it as array_record; nothing half-made stays behind.

    Args:
      name: ``set`` or ``set/config``.
      dir: the folder of prepared sets; default `prepared.default_dir`.

    Returns:
      Its ``tfds.core.DatasetBuilder``.

    Raises:
      DataError: it cannot be used, see `prepared.keys`, downloaded or prepared.
    """
    import tensorflow_datasets as tfds

    root = prepared.default_dir() if dir is None else Path(dir).expanduser()
    command = f"fedcode data prepare {name} --dir {root}"
    try:
        with _downloading():
            builder = tfds.builder(name, data_dir=root, file_format="array_record")
            sample, _ = prepared.keys(name, builder.info.features)
            if builder.data_path.exists() and prepared.find(name, root) is None:
                raise DataError(
                    f"{builder.data_path}: no complete set ({prepared.INFO} is missing); delete "
                    f"this folder, then run: {command}"
                )
            with _without_tensorflow(builder, sample):
                builder.download_and_prepare(
                    download_config=tfds.download.DownloadConfig(try_download_gcs=False)
                )
    except DataError:
        raise
    except Exception as error:  # tensorflow-datasets' own code for this set raises what it likes
        causes = [error, error.__cause__]
        module = next((e.name for e in causes if isinstance(e, ImportError) and e.name), None)
        host = re.search(r"host='([^']+)'", str(error))
        if module:
            reason = f"preparing it needs {module}, which is not installed; where it is"
            if name == "speech_commands":
                reason = f"set data.dir to its extracted archive; {reason}"
        elif host and isinstance(error, OSError):
            reason = f"it cannot be downloaded (no answer from {host[1]}); with a network"
        else:
            first = next(iter(str(error).strip().splitlines()), "")
            reason = f"preparing it failed ({type(error).__name__}: {first}); then"
        raise DataError(f"{name}: not prepared in {root}, and {reason}, run: {command}") from error
    return builder


@contextlib.contextmanager
def _downloading() -> Iterator[None]:
    """Progress bars on a terminal and nothing else, and few attempts without a network."""
    from tensorflow_datasets.core.download import downloader
    from tensorflow_datasets.core.utils import tqdm_utils

    # For good, because its threads go on trying after the first of them has failed.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    retries = downloader.MAX_RETRIES
    try:
        downloader.MAX_RETRIES = _RETRIES
        tqdm_utils.display_progress_bar(sys.stderr.isatty())
        with prepared.quiet(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tqdm_utils.display_progress_bar(True)
        downloader.MAX_RETRIES = retries


class _OpensLocalFiles:
    """In place of TensorFlow: ``tf.io.gfile.GFile`` of local files, which is ``open``."""

    io = gfile = property(lambda self: self)
    GFile = staticmethod(open)

    def __getattr__(self, name: str) -> Any:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")


@contextlib.contextmanager
def _without_tensorflow(builder: Any, sample: str) -> Iterator[None]:
    """Lets a set be prepared where TensorFlow is not installed, if its own code needs it little.

    CIFAR's, MNIST's, EMNIST's and SVHN's need it to open their files, and tensorflow-datasets then
    to write arrays as PNG, which Pillow does as well: the pixels read back are the same.
    """
    module = sys.modules[type(builder).__module__]
    if not hasattr(module, "tf") or importlib.util.find_spec("tensorflow") is not None:
        yield
        return
    from PIL import Image

    feature, original = builder.info.features[sample], module.tf
    encode = feature.encode_example

    def encode_array(image: Any) -> Any:
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return encode(image)

    try:
        vars(module)["tf"] = _OpensLocalFiles()
        feature.encode_example = encode_array
        yield
    finally:
        vars(module)["tf"] = original
        del feature.encode_example
