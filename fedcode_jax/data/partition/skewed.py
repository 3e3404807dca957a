"""Label skew as papers draw it: by mixes at equal sizes, by classes first, by shards."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedcode_jax.data.partition import common
from fedcode_jax.data.partition.places import holders_of
from fedcode_jax.data.partition.result import Partition
from fedcode_jax.errors import ConfigError


def balanced_dirichlet(
    labels: ArrayLike, num_clients: int, *, alpha: float = 0.5, seed: int = 0, min_size: int = 1
) -> Partition:
    """Clients of equal sizes that differ in their classes: every client has a mix of its own.

    Law: one client after another, in random order, draws a mix q ~ Dirichlet(alpha, ..., alpha)
    over the classes, and takes q_k N / C samples of each class k, at random and rounded with exact
    expectation. What a class has too few of it takes of the others, by the mix among those that
    are left, so the last clients get what remains. Sizes differ by at most one. Every sample is
    used exactly once.

    Args:
      labels: integers ``[N]``.
      num_clients: C, at most N.
      alpha: concentration of each class, any positive number: 0.01 gives most clients one class.
      seed: the partition is a function of it.
      min_size: fewest samples of a client; met by any feasible value, as sizes are equal.

    Returns:
      The partition.

    Raises:
      ConfigError: ``num_clients``, ``alpha`` or ``min_size`` out of range.
      DataError: ``labels`` are not integers ``[N]``.

    Source: Hsu et al. 2019, https://arxiv.org/abs/1909.06335, section 3. Their alpha is shared out
    over the classes: with K classes of equal numbers it is K times this one.

    Example:
      >>> labels = np.arange(1000) % 10
      >>> partition = balanced_dirichlet(labels, 8, alpha=0.1)
      >>> partition.sizes.tolist()
      [125, 125, 125, 125, 125, 125, 125, 125]
    """
    y = common.check_labels(labels, num_clients, min_size)
    alpha = common.check_alpha(alpha)
    rng = common.generator("balanced_dirichlet", seed)
    _, inverse, left = np.unique(y, return_inverse=True, return_counts=True)
    mixes = common.log_dirichlet(rng, alpha, (num_clients, len(left)))
    sizes = _equal(len(y), num_clients)
    taken = np.zeros((num_clients, len(left)), np.int64)
    for client in rng.permutation(num_clients):
        taken[client] = _drawn(rng, mixes[client], left, int(sizes[client]))
        left = left - taken[client]
    return common.from_owner("balanced_dirichlet", _dealt(rng, inverse, taken), num_clients)


def extended_dirichlet(
    labels: ArrayLike,
    num_clients: int,
    *,
    classes_per_client: int = 2,
    alpha: float = 0.5,
    seed: int = 0,
    min_size: int = 1,
) -> Partition:
    """Each client holds exactly c classes, and each class is shared out unevenly among its holders.

    Law: the classes of every client as of ``by_class``; then for each class k one sample to each of
    its holders, and of the others shares p_k ~ Dirichlet(alpha, ..., alpha) over the holders,
    rounded with exact expectation. Every class occurs and every sample is used exactly once.

    Args:
      labels: integers ``[N]``.
      num_clients: C, at most N.
      classes_per_client: c, from 1 to the number of classes, with C c >= the number of classes.
      alpha: concentration, any positive number: 0.01 gives nearly each class to one of its holders.
      seed: the partition is a function of it.
      min_size: fewest samples of a client. Nothing is moved to meet it, as that would bring in
        other classes: it is an error if a client comes out smaller.

    Returns:
      The partition.

    Raises:
      ConfigError: a setting is out of range, too few places for the classes, too few samples for
        the places, or a client comes out below ``min_size``.
      DataError: ``labels`` are not integers ``[N]``.

    Source: the extended Dirichlet strategy of Li and Lyu 2023, https://arxiv.org/abs/2311.03154;
    that each holder has at least one sample is ours.

    Example:
      >>> labels = np.arange(1000) % 10
      >>> partition = extended_dirichlet(labels, 20, classes_per_client=3, alpha=0.1)
      >>> (partition.counts(labels) > 0).sum(axis=1).tolist() == [3] * 20
      True
    """
    y = common.check_labels(labels, num_clients, min_size)
    alpha = common.check_alpha(alpha)
    rng = common.generator("extended_dirichlet", seed)
    _, inverse, sizes = np.unique(y, return_inverse=True, return_counts=True)
    holders = holders_of(rng, sizes, num_clients, classes_per_client)
    taken = holders.astype(np.int64)
    for k, size in enumerate(sizes):
        held = np.flatnonzero(holders[:, k])
        shares = common.log_dirichlet(rng, alpha, (1, len(held)))[0]
        taken[held, k] += common.whole(rng, shares, int(size) - len(held))
    partition = common.from_owner("extended_dirichlet", _dealt(rng, inverse, taken), num_clients)
    common.check_smallest(partition, min_size, classes_per_client)
    return partition


def shards(
    labels: ArrayLike,
    num_clients: int,
    *,
    shards_per_client: int = 2,
    seed: int = 0,
    min_size: int = 1,
) -> Partition:
    """The pathological split: samples sorted by class, cut into shards, some shards a client.

    Law: the samples are sorted by class, in random order within each, and cut into C s shards, of
    which every client gets s at random. A shard has N / (C s) samples, to one, such that clients
    differ by at most one. Every sample is used exactly once. A client has at most
    s classes if no shard crosses from one class to the next, and few more in any case.

    Args:
      labels: integers ``[N]``.
      num_clients: C, at most N.
      shards_per_client: s, at least 1, with C s at most N.
      seed: the partition is a function of it.
      min_size: fewest samples of a client; met by any feasible value, as sizes are equal.

    Returns:
      The partition.

    Raises:
      ConfigError: ``num_clients``, ``shards_per_client`` or ``min_size`` out of range.
      DataError: ``labels`` are not integers ``[N]``.

    Source: McMahan et al. 2017, https://arxiv.org/abs/1602.05629, section 3.

    Example:
      >>> labels = np.arange(600) % 10
      >>> partition = shards(labels, 10)
      >>> partition.sizes.tolist() == [60] * 10, int((partition.counts(labels) > 0).sum(1).max())
      (True, 2)
    """
    y = common.check_labels(labels, num_clients, min_size)
    common.check_integer("partition.shards_per_client", shards_per_client, 1)
    if num_clients * shards_per_client > len(y):
        raise ConfigError(
            f"partition.shards_per_client: {shards_per_client} for each of {num_clients:,} clients "
            f"are more shards than the {len(y):,} train samples; at most {len(y) // num_clients} "
            "is possible"
        )
    rng = common.generator("shards", seed)
    order = np.lexsort((rng.random(len(y)), y))
    whose = rng.permutation(np.repeat(np.arange(num_clients), shards_per_client))
    # A client's part of the samples, cut over its shards in the order in which they lie.
    parts = np.stack([_equal(int(n), shards_per_client) for n in _equal(len(y), num_clients)])
    lengths = np.empty(len(whose), np.int64)
    lengths[np.argsort(whose, kind="stable")] = parts.ravel()
    owner = np.empty(len(y), np.int64)
    owner[order] = np.repeat(whose, lengths)
    return common.from_owner("shards", owner, num_clients)


def _equal(total: int, parts: int) -> NDArray[np.int64]:
    """Whole numbers that sum to ``total`` and differ by at most one."""
    return np.full(parts, total // parts) + (np.arange(parts) < total % parts)


def _drawn(
    rng: np.random.Generator, mix: NDArray, left: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """How many of each class make up ``size`` samples by a mix, of none more than is left."""
    taken = np.zeros_like(left)
    while (missing := size - int(taken.sum())) > 0:
        open_ = taken < left
        shares = np.where(open_, mix, 0.0)
        if not shares.sum() > 0:  # all that the mix has is taken
            shares = np.where(open_, left - taken, 0).astype(float)
        taken = np.minimum(taken + common.whole(rng, shares / shares.sum(), missing), left)
    return taken


def _dealt(rng: np.random.Generator, classes: NDArray, taken: NDArray) -> NDArray[np.int64]:
    """Whose each sample is, if client i gets ``taken[i, k]`` of class k, drawn at random."""
    owner = np.empty(len(classes), np.int64)
    for k in range(taken.shape[1]):
        members = rng.permutation(np.flatnonzero(classes == k))
        owner[members] = np.repeat(np.arange(len(taken)), taken[:, k])
    return owner
