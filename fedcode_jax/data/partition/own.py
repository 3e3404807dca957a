"""A partition of one's own: row numbers of every client, checked."""

from typing import Any

import numpy as np

from fedcode_jax.data.dataset import Dataset
from fedcode_jax.data.partition.result import Partition
from fedcode_jax.errors import ConfigError


def as_partition(given: Any, dataset: Dataset, name: str = "partition") -> Partition:
    """The partition that somebody made.

    Args:
      given: a `Partition`, or for each client the row numbers of its training samples.
      dataset: whose training samples they are.
      name: of the partition, also for errors.

    Returns:
      The partition.

    Raises:
      ConfigError: something else was given, a client has no sample, or a row number is not one of
        the data set's. A sample may be held by several clients.

    Example:
      >>> from fedcode_jax.data import load
      >>> as_partition([range(3), [3, 4]], load("digits")).sizes.tolist()
      [3, 2]
    """
    if isinstance(given, Partition):
        name, given = given.name, given.clients
    where = "partition" if name == "partition" else f"partition: {name}"
    try:
        clients = [np.asarray(rows) for rows in given]
    except (TypeError, ValueError):
        clients = []
    if not clients:
        raise ConfigError(
            f"{where}: {type(given).__name__} is no partition; it must be a Partition, or the row "
            "numbers of each client's training samples"
        )
    for number, rows in enumerate(clients):
        what = ""
        if rows.ndim != 1 or not len(rows):
            what = "has no samples" if rows.ndim == 1 else f"has an array of shape {rows.shape}"
        elif not np.issubdtype(rows.dtype, np.integer):
            what = f"has row numbers of type {rows.dtype}"
        elif rows.min() < 0 or rows.max() >= dataset.num_train:
            what = f"has row {int(rows.max() if rows.min() >= 0 else rows.min())}"
        elif len(np.unique(rows)) < len(rows):
            what = "has a row twice"
        if what:
            raise ConfigError(
                f"{where}: client {number} {what}; each must have different whole "
                f"numbers from 0 to {dataset.num_train - 1}, at least one"
            )
    return Partition(name, tuple(np.sort(rows).astype(np.int32) for rows in clients))
