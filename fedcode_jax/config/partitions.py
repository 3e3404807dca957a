"""The settings of the partitions: how the training samples are dealt to the clients."""

import dataclasses
from typing import Annotated, Any, ClassVar

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionConfig(Choice):
    """How the training samples are dealt to the clients."""

    section: ClassVar[str] = "partition."
    default: ClassVar[str] = "iid"
    room: ClassVar[str] = "fedcode_jax.data.partition:registry"
    inputs: ClassVar[frozenset[str]] = frozenset({"dataset", "labels", "users", "seed"})

    name: Annotated[str, checks.text] = ""
    """Law: iid, multinomial, dirichlet (label skew), imbalanced, by_class or by_user; or
    module:factory, a law of your own."""

    def build(self, **inputs: Any) -> Any:
        """The partition of a data set."""
        from fedcode_jax.data import partition

        dataset = inputs.pop("dataset")
        built = super().build(
            dataset=dataset, labels=dataset.train_y, users=dataset.train_user, **inputs
        )
        return partition.as_partition(built, dataset, self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Dealt(PartitionConfig):
    num_clients: Annotated[int, checks.whole(1)] = 10
    """Number of clients."""
    min_size: Annotated[int, checks.whole(1)] = 1
    """Fewest samples a client may have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Iid(_Dealt):
    """Equal sizes, at random."""

    name: str = "iid"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multinomial(_Dealt):
    """Each sample to a client drawn at random."""

    name: str = "multinomial"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dirichlet(_Dealt):
    """Label skew: the shares of each class are drawn from a Dirichlet law."""

    name: str = "dirichlet"
    alpha: Annotated[float, checks.real(0, above=True)] = 0.5
    """Concentration; the smaller, the less alike the clients."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imbalanced(_Dealt):
    """Sizes drawn from a Dirichlet law, labels at random."""

    name: str = "imbalanced"
    alpha: Annotated[float, checks.real(0, above=True)] = 0.5
    """Concentration; the smaller, the more unequal the sizes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByClass(_Dealt):
    """Each client holds a few classes."""

    name: str = "by_class"
    classes_per_client: Annotated[int, checks.whole(1)] = 2
    """Classes that each client holds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByUser(PartitionConfig):
    """The users of the data set are the clients."""

    name: str = "by_user"
    min_size: Annotated[int, checks.whole(1)] = 1
    """Fewest samples of a user who takes part."""

    def build(self, **inputs: Any) -> Any:
        """The partition; the data set must say whose its samples are."""
        from fedcode_jax.errors import ConfigError

        dataset = inputs["dataset"]
        if dataset.train_user is None:
            raise ConfigError(
                f"partition.name: by_user needs users, and data set {dataset.name!r} has none; "
                "use an npz file with an array train_user, or another partition"
            )
        return super().build(**inputs)
