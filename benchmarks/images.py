"""A part of a data set of images, in a file of its own."""

import os
import pathlib
import tempfile

import numpy as np

from fedcode_jax import data


def first_images(
    source: pathlib.Path, file: pathlib.Path, *, train: int, test: int
) -> pathlib.Path:
    """The first images of a data set; a file that is there stays.

    Args:
      source: the whole data set, as npz.
      file: of the part; its folder exists.
      train: training images.
      test: test images.

    Returns:
      The file.
    """
    if not file.exists():
        whole = data.load("npz", path=str(source))
        part = {
            "train_x": whole.train_x[:train],
            "train_y": whole.train_y[:train],
            "test_x": whole.test_x[:test],
            "test_y": whole.test_y[:test],
        }
        # Whole or not at all: a call that is cut off would leave a part of it.
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".npz", delete=False) as draft:
            np.savez(draft, **part)
        os.replace(draft.name, file)
    return file
