"""What a check has compared, and how far apart it was."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from fedcode_jax.errors import CheckError

EPS = 2.0**-24
"""Half a unit in the last place of a float32 near 1: the most that one rounding moves it."""
FACTOR = 8
"""How many times as far as NumPy's own float32 the program may be from float64."""


class Pair(NamedTuple):
    """The same calculation in NumPy twice.

    Attributes:
      double: in float64.
      single: in float32.
    """

    double: Any
    single: Any


@dataclasses.dataclass
class Quantity:
    """One kind of figure that was compared.

    Attributes:
      compared: how often.
      difference: the largest, in proportion to its bound.
      bound: of that one.
      where: that was.
    """

    compared: int = 0
    difference: float = 0.0
    bound: float = 0.0
    where: str = ""

    @property
    def share(self) -> float:
        """The difference as a share of its bound; above 1 it is too large."""
        if math.isnan(self.difference):
            return math.inf
        return self.difference / self.bound if self.bound else math.inf * (self.difference > 0)


class Findings:
    """Everything compared so far, by name."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.quantities: dict[str, Quantity] = {}

    def add(self, name: str, difference: float, bound: float, where: str) -> None:
        """Notes one comparison.

        Args:
          name: of the quantity.
          difference: found, of any unit; not a number counts as too large.
          bound: that it must not exceed.
          where: the round, and the client where it is of one.
        """
        new = Quantity(1, float(difference), float(bound), where)
        old = self.quantities.get(name)
        worst = new if old is None or new.share >= old.share else old
        compared = 1 if old is None else old.compared + 1
        self.quantities[name] = dataclasses.replace(worst, compared=compared)

    def near(self, name: str, found: Any, pair: Pair, before: Any, where: str) -> None:
        """Notes how far vectors are from float64, as a share of the way that they have gone.

        |found - double| <= FACTOR (|single - double| + EPS |double|), all in the Euclidean norm
        and over |double - before|.

        Args:
          name: of the quantity.
          found: the program's values.
          pair: what NumPy makes of the same.
          before: where the way begins.
          where: as of ``add``.
        """
        found, double, single, before = map(flat, (found, pair.double, pair.single, before))
        way = np.linalg.norm(double - before) or np.linalg.norm(double) or 1.0
        rounded = np.linalg.norm(single - double) + EPS * np.linalg.norm(double)
        difference = float(np.linalg.norm(found - double) / way)
        self.add(name, difference, float(FACTOR * rounded / way), where)

    def same(self, name: str, found: Any, expected: Any, where: str) -> None:
        """Notes whether values are equal, as they must be; the difference is the largest."""
        found, expected = flat(found), flat(expected)
        apart = np.max(np.abs(found - expected), initial=0) if len(found) == len(expected) else 1
        self.add(name, apart, 0.0, where)

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Of each quantity how often it was compared, its largest difference and the bound."""
        return {
            name: {
                "compared": each.compared,
                "difference": each.difference,
                "bound": each.bound,
                "where": each.where,
            }
            for name, each in self.quantities.items()
        }

    def raise_if_too_large(self) -> None:
        """Ends with an error if any difference exceeds its bound.

        Raises:
          CheckError: which, where, by how much.
        """
        wrong = [(name, each) for name, each in self.quantities.items() if each.share > 1]
        if wrong:
            told = [
                f"{name} differs by {each.difference:.3g}, of which {each.bound:.3g} is allowed "
                f"({each.where})"
                for name, each in wrong
            ]
            raise CheckError(
                f"check: {'; '.join(told)}: the program does not do what float64 says it should; "
                "SEMANTICS.md says what was compared"
            )


def flat(tree: Any) -> np.ndarray:
    """All values of a pytree, f64[n]."""
    leaves = [np.asarray(leaf, np.float64).reshape(-1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)
