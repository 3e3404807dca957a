"""One round of the program, on the host, as a check looks at it."""

import dataclasses
from typing import Any

import jax
import numpy as np

from fedcode_jax.algorithms import Work
from fedcode_jax.simulation.state import RoundMetrics, State, Traffic


@dataclasses.dataclass(frozen=True)
class Round:
    """What went into a round, and what came of it; all arrays are NumPy's.

    Attributes:
      number: counted from 1.
      before: the state that it began with.
      after: the state that it left.
      metrics: what it reports; M clients are in it.
      traffic: its messages, and what its clients did.
    """

    number: int
    before: State
    after: State
    metrics: RoundMetrics
    traffic: Traffic

    @property
    def name(self) -> str:
        """How it is called where a figure comes from."""
        return f"round {self.number}"

    def of(self, place: int) -> str:
        """How one of its clients is called there."""
        return f"{self.name}, client {self.metrics.clients[place]}"

    @property
    def places(self) -> list[int]:
        """Of the clients that received something, and so trained."""
        return np.flatnonzero(self.metrics.received).tolist()

    def work(self, place: int) -> Work:
        """What a client did."""
        return jax.tree.map(lambda leaf: leaf[place], self.traffic.works)

    def counted(self, *kinds: int) -> np.ndarray:
        """N_i[M] of the clients whose upload arrived and is of one of the kinds, 0 of others."""
        there = self.metrics.arrived & np.isin(self.traffic.uploads.kind, kinds)
        return np.where(there, self.metrics.num_samples, 0)


def rows(tree: Any, number: int) -> Any:
    """Of a tree with a leading axis, one row."""
    return jax.tree.map(lambda leaf: leaf[number], tree)
