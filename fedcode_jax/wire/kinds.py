"""The kinds of messages."""

import enum
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray


class Kind(enum.IntEnum):
    """What a message carries, and so which of its arrays are sent.

    NOTHING: no bytes at all. CODEBOOK: the centers of every coded section. WEIGHTS: all of every
    section. UPDATE: as WEIGHTS, but the values are changes of what the receiver holds. Dense
    sections that are always sent are in all but NOTHING.
    """

    NOTHING = 0
    CODEBOOK = 1
    WEIGHTS = 2
    UPDATE = 3


def carries_values(kind: Array | int) -> Any:
    """Whether messages of a kind carry values, and so all of their sections.

    Args:
      kind: one of ``Kind``, or i32[...] of them, traced or not.

    Returns:
      bool[...].

    Example:
      >>> [bool(carries_values(kind)) for kind in Kind]
      [False, False, True, True]
    """
    return kind >= Kind.WEIGHTS
