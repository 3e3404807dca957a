"""What the laws share: checks, random streams, and the repair of clients that are too small."""

import heapq
import math
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcode_jax.data.partition.result import Partition
from fedcode_jax.errors import ConfigError, DataError


def generator(law: str, seed: int) -> np.random.Generator:
    """The random stream of a law: a function of its name and the seed only."""
    check_integer("seed", seed, 0)
    return np.random.default_rng([zlib.crc32(f"partition.{law}".encode()), int(seed)])


def check_integer(setting: str, value: object, least: int) -> None:
    """Raises ConfigError unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{setting}: {value!r} is not an integer of at least {least}")


def check_alpha(alpha: object) -> float:
    """The concentration as a float; raises ConfigError unless it is positive and finite."""
    hint = "small (0.1) makes clients very different, large (100) nearly alike"
    return check_real("alpha", alpha, hint, above=True)


def check_real(setting: str, value: object, hint: str, *, above: bool = False) -> float:
    """A setting of a law as a float; raises ConfigError unless it is finite and at least 0.

    Args:
      setting: its name.
      value: what it is.
      hint: what values of it do.
      above: refuses 0 as well.
    """
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    number = float(value) if known else math.nan  # type: ignore[arg-type]
    if not math.isfinite(number) or number < 0 or (above and number == 0):
        what = "a positive number" if above else "a number of at least 0"
        raise ConfigError(f"partition.{setting}: {value!r} is not {what}; {hint}")
    return number


def check_labels(labels: ArrayLike, num_clients: int, min_size: int) -> NDArray:
    """The labels as an array, after the checks that every law makes.

    Raises:
      ConfigError: fewer than one client, more clients than samples, or too few samples to give
        each client ``min_size``.
      DataError: the labels are not integers ``[N]``, N > 0.
    """
    y = np.asarray(labels)
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        raise DataError(
            f"labels: {y.dtype} of shape {y.shape}; one integer a sample is needed, shape (N,)"
        )
    check_integer("partition.num_clients", num_clients, 1)
    check_integer("partition.min_size", min_size, 1)
    if num_clients > len(y):
        raise ConfigError(
            f"partition.num_clients: {num_clients:,} clients for {len(y):,} train samples; "
            "each needs at least one"
        )
    if min_size * num_clients > len(y):
        raise ConfigError(
            f"partition.min_size: {min_size:,} samples for each of {num_clients:,} clients are "
            f"more than the {len(y):,} train samples; at most {len(y) // num_clients:,} is possible"
        )
    return y


def log_dirichlet(rng: np.random.Generator, alpha: float, size: tuple[int, int]) -> NDArray:
    """Rows of a symmetric Dirichlet distribution, safe for every positive alpha.

    NumPy's own ``dirichlet`` divides gamma variates that underflow to 0 for small alpha. Here
    log G = log Gamma(alpha + 1) - E / alpha, with E exponential, is the logarithm of a
    Gamma(alpha) variate (Marsaglia and Tsang 2000, section 6), and only differences of logarithms
    are exponentiated.

    Args:
      rng: the random stream.
      alpha: concentration.
      size: (rows, entries a row).

    Returns:
      float64 ``[rows, entries]``, non-negative, rows sum to 1.
    """
    gamma = rng.standard_gamma(alpha + 1, size)
    drop = rng.standard_exponential(size)
    drop -= drop.min(axis=1, keepdims=True)  # first, so that a tiny alpha gives inf, never nan
    with np.errstate(over="ignore"):
        logs = np.log(gamma) - drop / alpha
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def whole(rng: np.random.Generator, shares: NDArray, total: int) -> NDArray[np.int64]:
    """Rounds ``shares * total`` to integers that sum to ``total``, each off by less than 1.

    Systematic rounding with one random offset: the expectation of every count is exact, so that
    no client is favoured by its place in the row.
    """
    bounds = np.floor(np.cumsum(shares) * total + rng.random()).astype(np.int64)
    bounds = np.minimum(bounds, total)
    bounds[-1] = total
    return np.diff(bounds, prepend=0)


def finish(
    name: str, rng: np.random.Generator, owner: NDArray, num_clients: int, min_size: int
) -> Partition:
    """Makes the partition in which sample i belongs to client ``owner[i]``, after the repair.

    The repair is one pass and always ends: each client short of ``min_size`` gets what it lacks,
    taken one at a time from whoever is largest at that moment; which of its samples a large client
    gives is random. Nobody falls below ``min_size``, because the largest is above the mean.
    """
    sizes = np.bincount(owner, minlength=num_clients)
    lacking = np.maximum(min_size - sizes, 0)
    if lacking.any():
        heap = [(-int(size), client) for client, size in enumerate(sizes)]
        heapq.heapify(heap)
        gives = np.zeros(num_clients, np.int64)
        for _ in range(lacking.sum()):
            size, client = heap[0]
            heapq.heapreplace(heap, (size + 1, client))
            gives[client] += 1
        givers = np.flatnonzero(gives)
        moved = [rng.choice(np.flatnonzero(owner == g), gives[g], replace=False) for g in givers]
        owner = owner.copy()
        owner[rng.permutation(np.concatenate(moved))] = np.repeat(np.arange(num_clients), lacking)
    return from_owner(name, owner, num_clients)


def from_owner(name: str, owner: NDArray, num_clients: int) -> Partition:
    """The partition in which sample i belongs to client ``owner[i]``; negative: to nobody."""
    order = np.argsort(owner, kind="stable").astype(np.int32)
    ends = np.searchsorted(owner[order], np.arange(num_clients + 1))
    order.flags.writeable = False
    clients = tuple(order[ends[i] : ends[i + 1]] for i in range(num_clients))
    return Partition(name, clients)


def check_smallest(partition: Partition, min_size: int, classes_per_client: int) -> None:
    """Raises ConfigError if a client with classes of its own came out below ``min_size``."""
    smallest = int(partition.sizes.min())
    if smallest < min_size:
        raise ConfigError(
            f"partition.min_size: {min_size} cannot be met by {partition.name}: client "
            f"{int(partition.sizes.argmin())} has {smallest} samples of its {classes_per_client} "
            "classes; lower it, or use fewer clients or more classes_per_client"
        )
