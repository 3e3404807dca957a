"""How the train samples are cut into clients: one law a function, found by name."""

import inspect
from collections.abc import Callable
from typing import Any

from fedcode_jax.data.dataset import Dataset
from fedcode_jax.data.partition.groups import by_class, by_user
from fedcode_jax.data.partition.laws import dirichlet, iid, imbalanced, lognormal, multinomial
from fedcode_jax.data.partition.own import as_partition
from fedcode_jax.data.partition.result import Partition
from fedcode_jax.data.partition.skewed import balanced_dirichlet, extended_dirichlet, shards
from fedcode_jax.errors import ConfigError, check_name

__all__ = [
    "Partition",
    "as_partition",
    "balanced_dirichlet",
    "by_class",
    "by_user",
    "dirichlet",
    "extended_dirichlet",
    "iid",
    "imbalanced",
    "lognormal",
    "make",
    "multinomial",
    "registry",
    "shards",
]

registry: dict[str, Callable[..., Partition]] = {
    "iid": iid,
    "multinomial": multinomial,
    "dirichlet": dirichlet,
    "imbalanced": imbalanced,
    "balanced_dirichlet": balanced_dirichlet,
    "lognormal": lognormal,
    "by_class": by_class,
    "extended_dirichlet": extended_dirichlet,
    "shards": shards,
    "by_user": by_user,
}


def make(
    name: str,
    dataset: Dataset,
    *,
    num_clients: int = 10,
    min_size: int = 1,
    seed: int = 0,
    **own: Any,
) -> Partition:
    """Cuts the train split of a data set into clients, by the law of that name.

    Args:
      name: a name of ``registry``.
      dataset: its train labels (for ``by_user`` its users) are cut.
      num_clients: number of clients; ``by_user`` has as many as there are users instead.
      min_size: fewest samples of a client.
      seed: the partition is a function of it.
      **own: settings of that law, such as ``alpha``.

    Returns:
      The partition.

    Raises:
      ConfigError: an unknown name, a value out of range, or ``by_user`` without users.
      TypeError: a setting that the law does not have.

    Example:
      >>> from fedcode_jax.data import load
      >>> print(make("iid", load("digits"), num_clients=10))
      iid: 10 clients, 1,437 samples; sizes min 143, median 144, max 144
    """
    check_name("partition.name", name, registry)
    law = registry[name]
    if name == "by_user" and dataset.train_user is None:
        raise ConfigError(
            f"partition.name: by_user needs users, and data set {dataset.name!r} has none; "
            "use an npz file with an array train_user, or another partition"
        )
    taken = inspect.signature(law).parameters
    inputs = {"labels": dataset.train_y, "users": dataset.train_user, "num_clients": num_clients}
    common = {"min_size": min_size, "seed": seed}
    return law(**{name: value for name, value in inputs.items() if name in taken}, **common, **own)
