"""Which client of a round runs where: dealt to devices, and to places in chunks."""

import numpy as np


def deal(chunks: int, devices: int) -> np.ndarray:
    """Which of the chunks, sorted by their work, each device runs: there and back again.

    Args:
      chunks: how many there are.
      devices: how many share them.

    Returns:
      i32[devices, ceil(chunks / devices)]; numbers from ``chunks`` on stand for none.

    Example:
      >>> deal(5, 2).tolist()
      [[0, 3, 4], [1, 2, 5]]
    """
    rows = np.arange(-(-chunks // devices) * devices, dtype=np.int32).reshape(-1, devices)
    rows[1::2] = rows[1::2, ::-1]
    return rows.T


def places(clients: int, chunk: int, devices: int) -> np.ndarray:
    """Which of the clients of a round, sorted by their work, runs where.

    Args:
      clients: how many there are.
      chunk: clients side by side on a device.
      devices: that share them.

    Returns:
      i32[devices, chunks of a device, clients of a chunk]; -1 for idle places.

    Example:
      >>> places(5, 2, 2).tolist()
      [[[0, 1], [-1, -1]], [[2, 3], [4, -1]]]
    """
    chunk = min(chunk, clients)
    ranks = deal(-(-clients // chunk), devices)[:, :, None] * chunk + np.arange(chunk)
    return np.where(ranks < clients, ranks, -1)
