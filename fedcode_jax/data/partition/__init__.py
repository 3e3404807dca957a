"""How the train samples are cut into clients: one law a function, found by name."""

from collections.abc import Callable

from fedcode_jax.data.dataset import Dataset
from fedcode_jax.data.partition.groups import by_class, by_user
from fedcode_jax.data.partition.laws import dirichlet, iid, imbalanced, multinomial
from fedcode_jax.data.partition.own import as_partition
from fedcode_jax.data.partition.result import Partition
from fedcode_jax.errors import ConfigError, check_name

__all__ = [
    "Partition",
    "as_partition",
    "by_class",
    "by_user",
    "dirichlet",
    "iid",
    "imbalanced",
    "make",
    "multinomial",
    "registry",
]

registry: dict[str, Callable[..., Partition]] = {
    "iid": iid,
    "multinomial": multinomial,
    "dirichlet": dirichlet,
    "imbalanced": imbalanced,
    "by_class": by_class,
    "by_user": by_user,
}


def make(
    name: str,
    dataset: Dataset,
    *,
    num_clients: int = 10,
    alpha: float = 0.5,
    classes_per_client: int = 2,
    min_size: int = 1,
    seed: int = 0,
) -> Partition:
    """Cuts the train split of a data set into clients, by the law of that name.

    Args:
      name: a name of ``registry``.
      dataset: its train labels (for ``by_user`` its users) are cut.
      num_clients: number of clients; ``by_user`` has as many as there are users instead.
      alpha: for ``dirichlet`` and ``imbalanced``.
      classes_per_client: for ``by_class``.
      min_size: fewest samples of a client.
      seed: the experiment's seed.

    Returns:
      The partition.

    Raises:
      ConfigError: an unknown name, a value out of range, or ``by_user`` without users.

    Example:
      >>> from fedcode_jax.data import load
      >>> print(make("iid", load("digits"), num_clients=10))
      iid: 10 clients, 1,437 samples; sizes min 143, median 144, max 144
    """
    check_name("partition.name", name, registry)
    common = {"min_size": min_size, "seed": seed}
    if name == "by_user":
        if dataset.train_user is None:
            raise ConfigError(
                f"partition.name: by_user needs users, and data set {dataset.name!r} has none; "
                "use an npz file with an array train_user, or another partition"
            )
        return by_user(dataset.train_user, **common)
    if name in ("dirichlet", "imbalanced"):
        return registry[name](dataset.train_y, num_clients, alpha=alpha, **common)
    if name == "by_class":
        return by_class(
            dataset.train_y, num_clients, classes_per_client=classes_per_client, **common
        )
    return registry[name](dataset.train_y, num_clients, **common)
