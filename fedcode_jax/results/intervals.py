"""Means over seeds with confidence intervals, by Student's t."""

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

CONFIDENCE = 0.95
_NO_WIDTH = 1e-12  # of an interval; less is rounding


class Interval(NamedTuple):
    """A mean, and an interval around it.

    Attributes:
      mean: of the values; NaN for none.
      half_width: of the interval; None for fewer than two values, which have none.
      n: how many values.
    """

    mean: float
    half_width: float | None
    n: int

    @property
    def low(self) -> float:
        """The lower end; minus infinity where there is no interval."""
        return self.mean - (math.inf if self.half_width is None else self.half_width)

    @property
    def high(self) -> float:
        """The upper end; infinity where there is no interval."""
        return self.mean + (math.inf if self.half_width is None else self.half_width)

    @property
    def sign(self) -> int:
        """1 if the interval is above 0, -1 if below, 0 if it tells nothing.

        It tells nothing where it includes 0, where there is none, and where all values are equal:
        accuracies go by steps of a sample, and a few seeds may differ by the same one by chance.
        """
        if self.half_width is None or self.half_width <= _NO_WIDTH:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of independent values, and the interval that holds the true one so often.

    Args:
      values: one a seed.
      confidence: how often, above 0 and below 1.

    Returns:
      The interval, by Student's t with n - 1 degrees of freedom.

    Example:
      >>> found = interval([0.5, 0.7, 0.6])
      >>> f"{found.mean:.2f} ± {found.half_width:.3f}"
      '0.60 ± 0.248'
      >>> interval([0.5])
      Interval(mean=0.5, half_width=None, n=1)
    """
    given = list(values)
    n = len(given)
    if n == 0:
        return Interval(math.nan, None, 0)
    mean = math.fsum(given) / n
    if n == 1:
        return Interval(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in given) / (n - 1)
    return Interval(mean, t_quantile(confidence, n - 1) * math.sqrt(variance / n), n)


@functools.cache
def t_quantile(confidence: float, degrees: int) -> float:
    """How far from 0 a variable of Student's t is in no more than ``1 - confidence`` of cases.

    Args:
      confidence: above 0 and below 1; 0.95 gives the 97.5 % quantile.
      degrees: of freedom, at least 1.

    Returns:
      The distance.

    Example:
      >>> [round(t_quantile(0.95, degrees), 3) for degrees in (1, 2, 4, 30)]
      [12.706, 4.303, 2.776, 2.042]
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))
