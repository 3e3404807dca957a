"""The parts of an experiment: those that a config names, and those that were given in Python."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax
import optax

from fedcode_jax import algorithms, data, models, network, schedules
from fedcode_jax import config as configs
from fedcode_jax.clients.losses import check_loss, check_metrics, cross_entropy
from fedcode_jax.clients.named import loss_of, metric_of
from fedcode_jax.clients.optimizers import optimizer
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.digest import described, digest
from fedcode_jax.limits import refuse
from fedcode_jax.names import PARTS, absent, given, imported, is_given, is_own, one_line


class Given(TypedDict, total=False):
    """Parts of one's own, given as objects in place of those that a config names.

    Attributes:
      model: a flax linen module, an nnx module, or a function of ``rngs`` that makes one; see
        ``models.check_model`` for what it must keep to.
      dataset: a ``data.Dataset``, or arrays as of ``data.as_dataset``.
      partition: a ``data.Partition``, or the row numbers of each client's training samples.
      algorithm: an ``algorithms.Algorithm``.
      schedule: a ``schedules.Schedule``, such as ``schedules.from_rule`` makes.
      network: a ``network.Network``, or the ``network.Links`` of all clients.
      optimizer: an optax transformation, or a function from a learning rate to one.
      loss: ``(logits f32[B, K], labels i32[B]) -> f32[B]``.
      metrics: further figures by name, each a function of the same kind.
      augment: ``(key, x[B, ...]) -> x``, of the samples in raw units.
    """

    model: Any
    dataset: Any
    partition: Any
    algorithm: algorithms.Algorithm
    schedule: schedules.Schedule
    network: Any
    optimizer: Any
    loss: Callable[..., Any]
    metrics: Mapping[str, Callable[..., Any]]
    augment: Callable[..., Any]


def named(config: ExperimentConfig, own: Mapping[str, Any]) -> ExperimentConfig:
    """The config with a name for each part that was given, by which it is known again.

    Args:
      config: of the experiment.
      own: the parts, as of ``Given``; None for one that was not given.

    Returns:
      The config; its YAML says which parts are not in it.

    Raises:
      ConfigError: a config that was made with another object, or names the part itself.
      TypeError: there is no such part.
    """
    changes: dict[str, Any] = {}
    for part, value in own.items():
        if part not in PARTS:
            known = ", ".join(PARTS)
            raise TypeError(f"there is no part {part!r} to be given; there are {known}")
        if value is None:
            continue
        if part == "metrics":
            names = [given(name, digest(function)) for name, function in value.items()]
            further = [name for name in config.metrics if not is_given(name)]
            changes["metrics"] = (*further, *names)
            continue
        changes[PARTS[part]] = _name(config, part, value)
    return configs.replace(config, changes) if changes else config


def _name(config: ExperimentConfig, part: str, value: Any) -> str:
    """The name of a part that was given; the config must have none of its own."""
    what = value.name if isinstance(value, data.Dataset) else described(value)
    name = given(what.replace("\n", " ").strip()[:40], _digest(value))
    section, _, last = PARTS[part].partition(".")
    found, default = getattr(config, section), getattr(ExperimentConfig(), section)
    present = getattr(found, last)
    if is_given(present) and present != name:
        raise ConfigError(
            f"{part}: {name.removeprefix('given ')} is not {present.removeprefix('given ')}, with "
            f"which this config was made; give that, or set {PARTS[part]} to a name"
        )
    beside: frozenset[str] = getattr(found, "beside", frozenset())
    same = all(
        getattr(found, field.name) == getattr(default, field.name, None)
        for field in dataclasses.fields(found)
        if field.name not in beside
    )
    if section == "local":
        same = present == getattr(default, last)
    if not is_given(present) and not same:
        raise ConfigError(
            f"{part}: was given, and {PARTS[part]} {present!r} with settings of its own is in "
            "the config; leave one of the two"
        )
    return name


def _digest(value: Any) -> str:
    return value.checksum[:8] if isinstance(value, data.Dataset | data.Partition) else digest(value)


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """Builds the parts of a config, or takes those that were given.

    Attributes:
      given: as of ``Given``.
    """

    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def _own(self, part: str, name: str) -> Any:
        """The part that was given, if this name of a config stands for one."""
        return self.given.get(part) if is_given(name) else None

    def dataset(self, config: ExperimentConfig) -> data.Dataset:
        """Loads the data set."""
        own = self._own("dataset", config.data.name)
        if own is None:
            return config.data.build(seed=config.seed)
        dataset = data.as_dataset(own)
        features = getattr(config.data, "features", None)
        return data.audio.with_features(dataset, features or "raw")

    def partition(self, config: ExperimentConfig, dataset: data.Dataset) -> data.Partition:
        """Deals the training samples to the clients."""
        own = self._own("partition", config.partition.name)
        if own is None:
            return config.partition.build(dataset=dataset, seed=config.seed)
        return data.partition.as_partition(own, dataset)

    def model(
        self, config: ExperimentConfig, dataset: data.Dataset, lowering: str = "native"
    ) -> Any:
        """The model, its convolutions lowered as told; one's own as it is."""
        own = self._own("model", config.model.name)
        if own is not None:
            return models.adapted(own)
        return _built_model(config.model, dataset.num_classes, dataset.input_shape, lowering)

    def algorithm(self, config: ExperimentConfig) -> algorithms.Algorithm:
        """The algorithm."""
        own = self._own("algorithm", config.algorithm.name)
        if own is None:
            return config.algorithm.build()
        if not isinstance(own, algorithms.Algorithm):
            refuse("algorithm", type(own).__name__, "an algorithms.Algorithm")
        return own

    def schedule(self, config: ExperimentConfig) -> schedules.Schedule:
        """The schedule."""
        own = self._own("schedule", config.schedule.name)
        if own is None:
            return config.schedule.build(rounds=config.rounds)
        if not isinstance(own, schedules.Schedule):
            refuse("schedule", type(own).__name__, "a schedules.Schedule")
        return own.with_settings(in_time=jax.numpy.bool_(config.schedule.uplink == "in_time"))

    def network(self, config: ExperimentConfig, num_clients: int) -> Any:
        """The links and devices."""
        own = self._own("network", config.network.name)
        if own is None:
            return config.network.build(num_clients=num_clients, seed=config.seed)
        return network.as_network(own)

    def optimizer(self, config: ExperimentConfig) -> Any:
        """The optimiser of local training, as ``LocalTraining`` takes it."""
        local = config.local
        own = self._own("optimizer", local.optimizer)
        if own is None and is_given(local.optimizer):
            raise absent("local.optimizer", local.optimizer)
        if own is None:
            return functools.partial(_optimizer, local)
        if not isinstance(own, tuple):
            return own if not local.weight_decay else lambda rate: _decayed(local, own(rate))
        if (local.learning_rate, local.decay) != (configs.LocalConfig.learning_rate, "none"):
            raise ConfigError(
                f"local.learning_rate: {local.learning_rate} (decay {local.decay}) has no use with "
                "an optimizer that has its own; give a function from the learning rate to one"
            )
        return _decayed(local, own)

    def loss(self, config: ExperimentConfig, num_classes: int) -> Callable[..., Any]:
        """The loss, of each sample."""
        own = self._own("loss", config.local.loss)
        if own is None and is_given(config.local.loss):
            raise absent("local.loss", config.local.loss)
        function = own
        if own is None:
            function = loss_of(config.local.loss, config.local.loss_args)
        elif config.local.loss_args:
            raise ConfigError(
                f"local.loss_args: {config.local.loss_args} have no use with a loss that was given "
                "in Python; give it with its arguments, by functools.partial"
            )
        if function is not cross_entropy:
            check_loss(function, num_classes, "local.loss")
        return function

    def metrics(
        self, config: ExperimentConfig, num_classes: int
    ) -> tuple[tuple[str, Callable[..., Any]], ...]:
        """Further figures, by name."""
        own = dict(self.given.get("metrics") or {})
        found = {}
        for name in config.metrics:
            if is_given(name):
                short = name.removeprefix("given ").rpartition(" ")[0]
                if short not in own:
                    raise absent("metrics", name)
                found[short] = own[short]
            else:
                found[name.rpartition(":")[2]] = metric_of(name)
        pairs = tuple(found.items())
        check_metrics(pairs, num_classes)
        return pairs

    def augment(self, config: ExperimentConfig, dataset: data.Dataset) -> Any:
        """The augmentation of training samples, or None."""
        name = config.local.augment
        own = self._own("augment", name)
        if own is None and is_given(name):
            raise absent("local.augment", name)
        if own is None and is_own(name):
            own = imported("local.augment", name)
        shape, dtype = dataset.input_shape, dataset.train_x.dtype
        if own is None:
            return data.augment.make(name, shape, dtype)
        return data.augment.checked(own, shape, dtype)


def _optimizer(local: configs.LocalConfig, learning_rate: jax.Array) -> Any:
    return optimizer(local.optimizer, learning_rate, local.weight_decay, local.optimizer_args)


def _decayed(local: configs.LocalConfig, chosen: Any) -> Any:
    """An optimiser of one's own with the weight decay of the config."""
    if not local.weight_decay:
        return chosen
    return optax.chain(optax.add_decayed_weights(local.weight_decay), chosen)


@functools.lru_cache(maxsize=64)
def _built_model(
    settings: configs.ModelConfig, num_classes: int, input_shape: tuple[int, ...], lowering: str
) -> Any:
    """Built once, so that what is compiled for a model of one's own serves again."""
    try:
        built = settings.build(num_classes=num_classes, input_shape=input_shape, lowering=lowering)
        return models.adapted(built)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"model.name: {settings.name} raised {one_line(error)}") from error
