"""Which classes each client holds, when every client holds the same number of them."""

import numpy as np
from numpy.typing import NDArray

from fedcode_jax.data.partition import common
from fedcode_jax.errors import ConfigError


def holders_of(
    rng: np.random.Generator, sizes: NDArray, num_clients: int, classes_per_client: object
) -> NDArray[np.bool_]:
    """Deals c classes to each of C clients, each class to about as many as any other.

    The C c places are dealt to the classes as evenly as their numbers of samples allow (a class of
    n samples takes at most n places), then clients take c different classes each, those with most
    places left first, ties at random.

    Args:
      rng: the random stream.
      sizes: samples of each class, all at least 1.
      num_clients: C.
      classes_per_client: c.

    Returns:
      bool ``[C, classes]``, c true ones a row and at least one a column.

    Raises:
      ConfigError: c is out of range, too few places for the classes, or too few samples for the
        places.
    """
    common.check_integer("partition.classes_per_client", classes_per_client, 1)
    each = int(classes_per_client)  # type: ignore[call-overload]
    if each > len(sizes):
        raise ConfigError(
            f"partition.classes_per_client: {each} is more than the {len(sizes)} classes there are"
        )
    if num_clients * each < len(sizes):
        raise ConfigError(
            f"partition.classes_per_client: {num_clients} clients of {each} classes "
            f"cannot cover {len(sizes)} classes; at least "
            f"{-(-len(sizes) // num_clients)} a client, or more clients, are needed"
        )
    places = _deal(rng, np.minimum(sizes, num_clients), num_clients * each)
    return _choose(rng, places, num_clients, each)


def _deal(rng: np.random.Generator, most: NDArray, total: int) -> NDArray[np.int64]:
    """Places of each class: as even as ``most`` allows, ``total`` together."""
    places = np.zeros(len(most), np.int64)
    while (left := total - int(places.sum())) > 0:
        open_ = np.flatnonzero(places < most)
        if not len(open_):
            raise ConfigError(
                f"partition.classes_per_client: {total} places (clients times classes a client) "
                f"but only {int(most.sum())} can be filled, as small classes cannot be shared by "
                "more clients than they have samples; use fewer clients or classes_per_client"
            )
        places[open_ if len(open_) <= left else rng.choice(open_, left, replace=False)] += 1
    return places


def _choose(
    rng: np.random.Generator, places: NDArray, num_clients: int, each: int
) -> NDArray[np.bool_]:
    """Who holds which class, bool ``[C, classes]``: ``each`` a row, ``places[k]`` in column k.

    Taking the classes with most places left never runs into a dead end (Gale 1957, Ryser 1957).
    """
    left = places.copy()
    holders = np.zeros((num_clients, len(places)), bool)
    for client in rng.permutation(num_clients):
        chosen = np.lexsort((rng.random(len(left)), -left))[:each]
        holders[client, chosen] = True
        left[chosen] -= 1
    return holders
