"""The settings of the partitions: how the training samples are dealt to the clients."""

import dataclasses
from typing import Annotated, Any, ClassVar

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice, parameters
from fedcode_jax.errors import ConfigError
from fedcode_jax.names import is_given


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionConfig(Choice):
    """How the training samples are dealt to the clients."""

    section: ClassVar[str] = "partition."
    default: ClassVar[str] = "iid"
    room: ClassVar[str] = "fedcode_jax.data.partition:registry"
    inputs: ClassVar[frozenset[str]] = frozenset({"dataset", "labels", "users", "seed"})
    beside: ClassVar[frozenset[str]] = frozenset({"seed"})

    name: Annotated[str, checks.text] = ""
    """Law: iid and multinomial (alike), dirichlet, balanced_dirichlet, by_class,
    extended_dirichlet and shards (label skew), imbalanced and lognormal (sizes), by_user; or
    module:factory, a law of your own."""
    seed: Annotated[int | None, checks.whole(0, 2**32 - 1)] = None
    """Seed of the split, so that it stays while seed varies, or varies alone; none: seed."""

    def build(self, **inputs: Any) -> Any:
        """The partition of a data set; ``seed`` is for those that have none of their own."""
        from fedcode_jax.data import partition

        dataset = inputs.pop("dataset")
        inputs["seed"] = self.drawn_by(inputs["seed"])
        if self.seed is not None and "seed" not in parameters(self.factory()):
            raise ConfigError(
                f"partition.seed: {self.seed} has no use: {self.name} takes no seed; leave it out, "
                "or give it a parameter seed"
            )
        built = super().build(
            dataset=dataset, labels=dataset.train_y, users=dataset.train_user, **inputs
        )
        return partition.as_partition(built, dataset, self.name)

    def check_together(self) -> None:
        """Checks that a seed is not set for a partition that was given."""
        if self.seed is not None and is_given(self.name):
            raise ConfigError(
                f"partition.seed: {self.seed} has no use with a partition that was given; leave "
                "it out"
            )

    def drawn_by(self, seed: int) -> int:
        """The seed of the split in an experiment of this seed."""
        return seed if self.seed is None else self.seed


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
class BalancedDirichlet(_Dealt):
    """Label skew at equal sizes: each client's mix of classes is drawn from a Dirichlet law."""

    name: str = "balanced_dirichlet"
    alpha: Annotated[float, checks.real(0, above=True)] = 0.5
    """Concentration of each class; the smaller, the less alike the clients."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtendedDirichlet(_Dealt):
    """Each client holds a few classes, each shared out unevenly among those that hold it."""

    name: str = "extended_dirichlet"
    classes_per_client: Annotated[int, checks.whole(1)] = 2
    """Classes that each client holds."""
    alpha: Annotated[float, checks.real(0, above=True)] = 0.5
    """Concentration; the smaller, the more unequal the shares of a class."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shards(_Dealt):
    """Samples sorted by class, cut into equal shards, a few of them a client."""

    name: str = "shards"
    shards_per_client: Annotated[int, checks.whole(1)] = 2
    """Shards that each client gets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lognormal(_Dealt):
    """Log-normal sizes, labels at random."""

    name: str = "lognormal"
    sigma: Annotated[float, checks.real(0)] = 0.3
    """Standard deviation of the logarithm of the sizes; 0: all alike."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByUser(PartitionConfig):
    """The users of the data set are the clients."""

    name: str = "by_user"
    min_size: Annotated[int, checks.whole(1)] = 1
    """Fewest samples of a user who takes part."""

    def build(self, **inputs: Any) -> Any:
        """The partition; the data set must say whose its samples are."""
        dataset = inputs["dataset"]
        if dataset.train_user is None:
            raise ConfigError(
                f"partition.name: by_user needs users, and data set {dataset.name!r} has none; "
                "use an npz file with an array train_user, or another partition"
            )
        return super().build(**inputs)
