"""A partition: which train samples each client holds."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_ROWS = 20
_MOST_COLUMNS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """The samples of each client, as row numbers of the train split.

    Attributes:
      name: the law it was drawn from.
      clients: one int32 array a client, ascending (training reshuffles anyway).

    Example:
      >>> partition = Partition("mine", (np.array([0, 2], np.int32), np.array([1], np.int32)))
      >>> partition.num_clients, partition.sizes.tolist()
      (2, [2, 1])
      >>> partition.counts([5, 6, 6], num_classes=7)[:, 5:].tolist()
      [[1, 1], [0, 1]]
    """

    name: str
    clients: tuple[NDArray[np.int32], ...]

    @property
    def num_clients(self) -> int:
        """Number of clients."""
        return len(self.clients)

    @functools.cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of samples of each client, int64 ``[C]``."""
        return np.array([len(client) for client in self.clients], np.int64)

    @functools.cached_property
    def checksum(self) -> str:
        """SHA-256 (hex) over the clients' sizes and row numbers, in order."""
        digest = hashlib.sha256()
        for client in self.clients:
            digest.update(np.array(len(client), "<i8").tobytes())
            digest.update(np.ascontiguousarray(client, "<i4").tobytes())
        return digest.hexdigest()

    def counts(self, labels: ArrayLike, num_classes: int | None = None) -> NDArray[np.int64]:
        """Samples of each class at each client.

        Args:
          labels: integers ``[N]``, the labels of the train split.
          num_classes: default: the largest label + 1.

        Returns:
          int64 ``[C, classes]``.
        """
        labels = np.asarray(labels)
        if num_classes is None:
            num_classes = int(labels.max()) + 1
        rows = [np.bincount(labels[client], minlength=num_classes) for client in self.clients]
        return np.stack(rows)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.num_clients:,} clients, {self.sizes.sum():,} samples; sizes "
            f"{_spread(self.sizes)}"
        )

    def describe(self, labels: ArrayLike, class_names: Sequence[str] | None = None) -> str:
        """The summary, and with it how the classes are spread over the clients, as text.

        Up to 20 clients are listed one a row, and up to 20 classes one a column.

        Args:
          labels: integers ``[N]``, the labels of the train split.
          class_names: column heads; default the numbers.

        Returns:
          Several lines.

        Example:
          >>> partition = Partition("mine", (np.array([0, 2], np.int32), np.array([1], np.int32)))
          >>> print(partition.describe([0, 1, 1]))
          mine: 2 clients, 3 samples; sizes min 1, median 1.5, max 2
          classes of a client: min 1, median 1.5, max 2
          client  size  0  1
               0     2  1  1
               1     1  0  1
        """
        counts = self.counts(labels)
        lines = [str(self), f"classes of a client: {_spread((counts > 0).sum(axis=1))}"]
        if counts.shape[1] <= _MOST_COLUMNS:
            names = list(class_names or map(str, range(counts.shape[1])))
            table = [["client", "size", *names]]
            for i in range(min(self.num_clients, _MOST_ROWS)):
                table.append([str(i), str(self.sizes[i]), *map(str, counts[i])])
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            for row in table:
                lines.append("  ".join(f"{v:>{w}}" for v, w in zip(row, widths, strict=True)))
            if self.num_clients > _MOST_ROWS:
                lines.append(f"... and {self.num_clients - _MOST_ROWS:,} more")
        return "\n".join(lines)

    def plot(
        self,
        labels: ArrayLike,
        path: str | os.PathLike[str],
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Draws the classes of each client as stacked bars into an image file.

        Args:
          labels: integers ``[N]``, the labels of the train split.
          path: the file; its ending gives the format (png, svg, pdf). Folders are made.
          class_names: names for the legend; default the numbers.
        """
        from fedcode_jax.data.partition.plot import draw

        draw(str(self), self.counts(labels), path, class_names)


def _spread(values: NDArray) -> str:
    return f"min {values.min():,}, median {np.median(values):,.6g}, max {values.max():,}"
