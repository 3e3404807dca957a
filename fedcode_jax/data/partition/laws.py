"""The laws that draw at random whose sample each is: IID, and skewed by class or by size."""

import numpy as np
from numpy.typing import ArrayLike

from fedcode_jax.data.partition import common
from fedcode_jax.data.partition.result import Partition


def iid(labels: ArrayLike, num_clients: int, *, seed: int = 0, min_size: int = 1) -> Partition:
    """Equal clients, alike but for chance: a random permutation cut into equal parts.

    Law: uniform over all assignments in which sizes differ by at most one. Every sample is used
    exactly once.

    Args:
      labels: integers ``[N]``; only their number matters.
      num_clients: C, at most N.
      seed: the partition is a function of it.
      min_size: fewest samples of a client; met by any feasible value, as sizes are equal.

    Returns:
      The partition.

    Raises:
      ConfigError: ``num_clients`` or ``min_size`` out of range.
      DataError: ``labels`` are not integers ``[N]``.

    Example:
      >>> iid(np.zeros(10, int), 3).sizes.tolist()
      [4, 3, 3]
    """
    y = common.check_labels(labels, num_clients, min_size)
    rng = common.generator("iid", seed)
    owner = rng.permutation(np.arange(len(y)) % num_clients)
    return common.from_owner("iid", owner, num_clients)


def multinomial(
    labels: ArrayLike, num_clients: int, *, seed: int = 0, min_size: int = 1
) -> Partition:
    """Each sample goes to a uniformly random client: what the FedCode authors call IID.

    Law: owner_i ~ Uniform{0, ..., C - 1}, independently, so the sizes are
    Multinomial(N, (1/C, ..., 1/C)). Clients below ``min_size`` are then filled up in one
    pass from the largest ones, never by drawing again. Every sample is used exactly once.

    Args:
      labels: integers ``[N]``; only their number matters.
      num_clients: C, at most N.
      seed: the partition is a function of it.
      min_size: fewest samples of a client.

    Returns:
      The partition.

    Raises:
      ConfigError: ``num_clients`` or ``min_size`` out of range.
      DataError: ``labels`` are not integers ``[N]``.

    Source: Khalilian et al. 2023, https://arxiv.org/abs/2311.09270, and its program.

    Example:
      >>> int(multinomial(np.zeros(100, int), 4).sizes.sum())
      100
    """
    y = common.check_labels(labels, num_clients, min_size)
    rng = common.generator("multinomial", seed)
    owner = rng.integers(num_clients, size=len(y))
    return common.finish("multinomial", rng, owner, num_clients, min_size)


def dirichlet(
    labels: ArrayLike, num_clients: int, *, alpha: float = 0.5, seed: int = 0, min_size: int = 1
) -> Partition:
    """Clients differ in their classes, and so in size: every class is shared out unevenly.

    Law: for each class k, shares p_k ~ Dirichlet(alpha, ..., alpha) over the C clients; the n_k
    samples of the class, in random order, are cut into parts of n_k p_k, rounded with exact
    expectation. Clients below ``min_size`` are then filled up in one pass from the largest
    ones, never by drawing again, so it ends for every alpha; a large ``min_size`` with a small
    ``alpha`` therefore bends the law. Every sample is used exactly once.

    Args:
      labels: integers ``[N]``.
      num_clients: C, at most N.
      alpha: concentration, any positive number: 0.01 gives nearly each class to one client, 10,000
        shares every class equally.
      seed: the partition is a function of it.
      min_size: fewest samples of a client.

    Returns:
      The partition.

    Raises:
      ConfigError: ``num_clients``, ``alpha`` or ``min_size`` out of range.
      DataError: ``labels`` are not integers ``[N]``.

    Source: the class-wise variant (Yurochkin et al. 2019, https://arxiv.org/abs/1905.12022) of the
    Dirichlet split of Hsu et al. 2019, https://arxiv.org/abs/1909.06335, which draws the class mix
    of each client and keeps sizes equal.

    Example:
      >>> labels = np.arange(1000) % 10
      >>> partition = dirichlet(labels, 5, alpha=0.1, min_size=20)
      >>> int(partition.sizes.sum()), bool(partition.sizes.min() >= 20)
      (1000, True)
    """
    y = common.check_labels(labels, num_clients, min_size)
    alpha = common.check_alpha(alpha)
    rng = common.generator("dirichlet", seed)
    classes = np.unique(y)
    shares = common.log_dirichlet(rng, alpha, (len(classes), num_clients))
    owner = np.empty(len(y), np.int64)
    for cls, share in zip(classes, shares, strict=True):
        members = rng.permutation(np.flatnonzero(y == cls))
        sizes = common.whole(rng, share, len(members))
        owner[members] = np.repeat(np.arange(num_clients), sizes)
    return common.finish("dirichlet", rng, owner, num_clients, min_size)


def imbalanced(
    labels: ArrayLike, num_clients: int, *, alpha: float = 0.5, seed: int = 0, min_size: int = 1
) -> Partition:
    """Clients differ in size only: their classes are alike but for chance.

    Law: sizes are N q, q ~ Dirichlet(alpha, ..., alpha) over the C clients, rounded with exact
    expectation; which samples a client holds is a random permutation's matter. Clients below
    ``min_size`` are then filled up in one pass from the largest ones, never by drawing
    again. Every sample is used exactly once.

    Args:
      labels: integers ``[N]``; only their number matters.
      num_clients: C, at most N.
      alpha: concentration, any positive number: small makes a few clients hold nearly everything.
      seed: the partition is a function of it.
      min_size: fewest samples of a client.

    Returns:
      The partition.

    Raises:
      ConfigError: ``num_clients``, ``alpha`` or ``min_size`` out of range.
      DataError: ``labels`` are not integers ``[N]``.

    Example:
      >>> sizes = imbalanced(np.zeros(1000, int), 10, alpha=0.5, min_size=5).sizes
      >>> int(sizes.sum()), bool(sizes.min() >= 5)
      (1000, True)
    """
    y = common.check_labels(labels, num_clients, min_size)
    alpha = common.check_alpha(alpha)
    rng = common.generator("imbalanced", seed)
    share = common.log_dirichlet(rng, alpha, (1, num_clients))[0]
    sizes = common.whole(rng, share, len(y))
    owner = rng.permutation(np.repeat(np.arange(num_clients), sizes))
    return common.finish("imbalanced", rng, owner, num_clients, min_size)


def lognormal(
    labels: ArrayLike, num_clients: int, *, sigma: float = 0.3, seed: int = 0, min_size: int = 1
) -> Partition:
    """Clients differ in size only, mildly: sizes are log-normal.

    Law: sizes are in proportion to exp(sigma z), z ~ Normal(0, 1) for each client, rounded with
    exact expectation; which samples a client holds is a random permutation's matter. Clients below
    ``min_size`` are then filled up in one pass from the largest ones, never by drawing again. Every
    sample is used exactly once.

    Args:
      labels: integers ``[N]``; only their number matters.
      num_clients: C, at most N.
      sigma: standard deviation of the logarithm of the sizes, from 0, where all are equal to one.
      seed: the partition is a function of it.
      min_size: fewest samples of a client.

    Returns:
      The partition.

    Raises:
      ConfigError: ``num_clients``, ``sigma`` or ``min_size`` out of range.
      DataError: ``labels`` are not integers ``[N]``.

    Source: the unbalanced data of Acar et al. 2021, https://arxiv.org/abs/2111.04263, section 4.

    Example:
      >>> sizes = lognormal(np.zeros(1000, int), 10, sigma=1.0).sizes
      >>> int(sizes.sum()), bool(sizes.max() > 2 * sizes.min())
      (1000, True)
    """
    y = common.check_labels(labels, num_clients, min_size)
    sigma = common.check_real("sigma", sigma, "0 makes clients equal, 1 very unequal")
    rng = common.generator("lognormal", seed)
    logs = sigma * rng.standard_normal(num_clients)
    share = np.exp(logs - logs.max())
    sizes = common.whole(rng, share / share.sum(), len(y))
    owner = rng.permutation(np.repeat(np.arange(num_clients), sizes))
    return common.finish("lognormal", rng, owner, num_clients, min_size)
