"""The laws that go by what a sample is: some classes a client, or one user a client."""

import numpy as np
from numpy.typing import ArrayLike

from fedcode_jax.data.partition import common
from fedcode_jax.data.partition.places import holders_of
from fedcode_jax.data.partition.result import Partition
from fedcode_jax.errors import ConfigError, DataError


def by_class(
    labels: ArrayLike,
    num_clients: int,
    *,
    classes_per_client: int = 2,
    seed: int = 0,
    min_size: int = 1,
) -> Partition:
    """Each client holds samples of exactly c classes.

    Law: the C c places are dealt to the classes as evenly as their numbers of samples allow (a
    class of n samples takes at most n places), then clients take c different classes each, those
    with most places left first, ties at random; the samples of a class, in random order, are cut
    into equal parts (to one sample), one a place. Every class occurs and every sample is used
    exactly once. Only the classes that occur in ``labels`` count.

    Args:
      labels: integers ``[N]``.
      num_clients: C, at most N.
      classes_per_client: c, from 1 to the number of classes, with C c >= the number of classes.
      seed: the partition is a function of it.
      min_size: fewest samples of a client. Nothing is moved to meet it, as that would bring in
        other classes: it is an error if a client comes out smaller.

    Returns:
      The partition.

    Raises:
      ConfigError: a setting is out of range, too few places for the classes, too few samples for
        the places, or a client comes out below ``min_size``.
      DataError: ``labels`` are not integers ``[N]``.

    Source: the shards of McMahan et al. 2017, https://arxiv.org/abs/1602.05629, with the number of
    classes made exact.

    Example:
      >>> labels = np.arange(1000) % 10
      >>> partition = by_class(labels, 20, classes_per_client=3)
      >>> (partition.counts(labels) > 0).sum(axis=1).tolist() == [3] * 20
      True
    """
    y = common.check_labels(labels, num_clients, min_size)
    classes, inverse, sizes = np.unique(y, return_inverse=True, return_counts=True)
    rng = common.generator("by_class", seed)
    holders = holders_of(rng, sizes, num_clients, classes_per_client)
    owner = np.empty(len(y), np.int64)
    for k in range(len(classes)):
        members = rng.permutation(np.flatnonzero(inverse == k))
        clients = rng.permutation(np.flatnonzero(holders[:, k]))
        owner[members] = np.resize(clients, len(members))
    partition = common.from_owner("by_class", owner, num_clients)
    common.check_smallest(partition, min_size, classes_per_client)
    return partition


def by_user(users: ArrayLike, *, seed: int = 0, min_size: int = 1) -> Partition:
    """One client a user, in ascending order of the users.

    Law: none, the data says whose sample is whose. Users with fewer than ``min_size`` samples are
    left out with their samples, which then stay unused. Samples of nobody (a negative user, such
    as the silence among spoken words) are dealt out in random order over the remaining users,
    evenly to one sample; they do not count towards ``min_size``. All others are used exactly once.

    Args:
      users: integers or strings ``[N]``; a negative integer means nobody's.
      seed: for dealing out the samples of nobody.
      min_size: fewest samples of a user who takes part.

    Returns:
      The partition; the number of clients is that of the users who take part.

    Raises:
      ConfigError: ``min_size`` is out of range, or no user has as many samples.
      DataError: ``users`` is not an array ``[N]`` of integers or strings.

    Example:
      >>> [client.tolist() for client in by_user(["ann", "bob", "ann"]).clients]
      [[0, 2], [1]]
      >>> [client.tolist() for client in by_user(["ann", "bob", "ann"], min_size=2).clients]
      [[0, 2]]
    """
    u = np.asarray(users)
    if u.ndim != 1 or u.dtype.kind not in "iuUS" or not len(u):
        raise DataError(
            f"users: {u.dtype} of shape {u.shape}; one integer or string a sample is needed"
        )
    common.check_integer("partition.min_size", min_size, 1)
    rng = common.generator("by_user", seed)
    nobody = u < 0 if u.dtype.kind == "i" else np.zeros(len(u), bool)
    known, counts = np.unique(u[~nobody], return_counts=True)
    kept = known[counts >= min_size]
    if not len(kept):
        raise ConfigError(
            f"partition.min_size: {min_size} is more than any of the {len(known)} users has "
            f"(at most {int(counts.max(initial=0))})"
        )
    owner = np.full(len(u), -1, np.int64)
    mine = np.isin(u, kept)
    owner[mine] = np.searchsorted(kept, u[mine])
    owner[nobody] = rng.permutation(np.resize(rng.permutation(len(kept)), int(nobody.sum())))
    return common.from_owner("by_user", owner, len(kept))
