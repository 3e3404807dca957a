"""One-dimensional k-means in NumPy: an optimum to hold codebooks against, and nearest centers."""

import numpy as np

_ATOMS = 2048
MOST_CENTERS = 1024
"""Up to which ``codebook.fit`` says how close to the optimum it comes."""
WITHIN = 0.005
"""By how much it says that its squared error may exceed the optimum, as a share."""


def excess(values: np.ndarray, found: np.ndarray, centers: np.ndarray) -> float:
    """How much farther the farthest value is from what was found for it than from its nearest.

    Args:
      values: f64[n].
      found: f64[n], a center for each.
      centers: f64[K].

    Returns:
      The largest |v - found| - min_j |v - c_j|, over the largest magnitude of a center; inf if what
      was found is no center.

    Example:
      >>> round(float(excess(np.array([0.4]), np.array([1.0]), np.array([0.0, 1.0]))), 6)
      0.2
    """
    centers = np.unique(centers)
    if not np.isin(found, centers).all():
        return np.inf
    above = np.clip(np.searchsorted(centers, values), 1, max(len(centers) - 1, 1))
    low, high = centers[above - 1], centers[np.minimum(above, len(centers) - 1)]
    nearest = np.minimum(np.abs(values - low), np.abs(values - high))
    farther = np.max(np.abs(values - found) - nearest, initial=0.0)
    return farther / (np.max(np.abs(centers)) or 1.0)


def error(values: np.ndarray, centers: np.ndarray) -> float:
    """The squared error when every value goes to its nearest center."""
    centers = np.sort(centers)
    near = centers[np.searchsorted((centers[1:] + centers[:-1]) / 2, values)]
    return float(np.sum((values - near) ** 2))


def above_optimum(values: np.ndarray, centers: np.ndarray) -> float:
    """By which share the squared error of a codebook exceeds that of a better one, if there is one.

    The other is the best that keeps together some thousand groups of neighbouring values, by
    dynamic programming: the optimum itself of up to 4,096 values, and hardly above it else.

    Args:
      values: f64[n], finite.
      centers: f64[K].

    Returns:
      error / other - 1, after what float32 cannot tell apart is taken off.

    Example:
      >>> values = np.array([0.0, 0.0, 1.0, 1.0, 10.0])
      >>> above_optimum(values, np.array([0.0, 1.0, 10.0]))
      0.0
      >>> round(float(above_optimum(values, np.array([0.4, 10.0]))), 6)
      0.04
    """
    best, own = _optimum(np.sort(values), len(centers)), error(values, centers)
    rounding = 1e-12 * np.max(np.abs(values), initial=0.0) ** 2 * len(values)
    own = max(own - rounding, 0.0)
    return 0.0 if own <= best else (np.inf if best == 0 else own / best - 1)


def _optimum(values: np.ndarray, K: int) -> float:
    """The least squared error of K intervals of groups of neighbours of sorted values."""
    ends = _groups(values)
    n = len(ends) - 1
    if n <= K:
        return 0.0
    values = values - np.mean(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])[ends]
    squares = np.concatenate([[0.0], np.cumsum(values**2)])[ends]
    counts = ends.astype(np.float64)

    def cost(first: np.ndarray, last: np.ndarray) -> np.ndarray:
        total = sums[last] - sums[first]
        number = np.maximum(counts[last] - counts[first], 1)
        return np.maximum(squares[last] - squares[first] - total**2 / number, 0)

    best = cost(np.zeros(n + 1, int), np.arange(n + 1))
    for _ in range(K - 1):
        best = _one_more(best, cost, n)
    return float(best[n])


def _groups(values: np.ndarray) -> np.ndarray:
    """Where groups of sorted values begin and end: small ones in number, in width, and at the ends.

    Values that lie alone far out are then groups of their own.
    """
    n = len(values)
    if n <= 2 * _ATOMS:
        return np.arange(n + 1)
    in_number = np.linspace(0, n, _ATOMS // 2 + 1).astype(int)
    in_width = np.searchsorted(values, np.linspace(values[0], values[-1], _ATOMS // 2))
    outer = np.arange(_ATOMS // 8)
    return np.unique(np.concatenate([in_number, in_width, outer, n - outer]))


def _one_more(best: np.ndarray, cost: object, n: int) -> np.ndarray:
    """The least errors of all beginnings with one interval more.

    Where the last interval begins does not fall as the beginning grows, so places are halved level
    by level, each searched between what its neighbours found.
    """
    assert callable(cost)
    found = np.full(n + 1, np.inf)
    found[0] = 0.0
    found_at = np.zeros(n + 2, int)  # with a border on each side
    found_at[n + 1] = n
    begins, ends = np.array([1]), np.array([n])
    while len(begins):
        middles = (begins + ends) // 2
        firsts, lasts = found_at[begins - 1], np.minimum(found_at[ends + 1], middles)
        widths = lasts - firsts + 1
        starts = np.concatenate([[0], np.cumsum(widths)[:-1]])
        tried = np.arange(widths.sum()) - np.repeat(starts - firsts, widths)
        totals = best[tried] + cost(tried, np.repeat(middles, widths))
        least = np.minimum.reduceat(totals, starts)
        where = np.flatnonzero(totals == np.repeat(least, widths))
        found[middles] = least
        found_at[middles] = tried[where[np.searchsorted(where, starts)]]
        begins, ends = (
            np.concatenate([begins, middles + 1]),
            np.concatenate([middles - 1, ends]),
        )
        begins, ends = begins[begins <= ends], ends[begins <= ends]
    return found
