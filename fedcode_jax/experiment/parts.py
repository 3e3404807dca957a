"""The parts of an experiment: those that a config names, and those that were given in Python."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from fedcode_jax import algorithms, data, models, network, schedules
from fedcode_jax import config as configs
from fedcode_jax.clients.losses import check_loss, check_metrics, cross_entropy
from fedcode_jax.clients.named import loss_of, metric_of
from fedcode_jax.clients.optimizers import check_optimizer, optimizer
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.accounting import rule_of
from fedcode_jax.limits import refuse
from fedcode_jax.names import absent, imported, is_given, is_own, one_line


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
        made_of = (dataset.num_classes, dataset.input_shape, lowering)
        return _built_model(repr(config.model), config.model, *made_of)

    def algorithm(
        self, config: ExperimentConfig, model: Any = None, input_shape: Any = None
    ) -> algorithms.Algorithm:
        """The algorithm, for a model of inputs of a shape, if it looks at that."""
        own = self._own("algorithm", config.algorithm.name)
        if own is None:
            private = config.privacy.clip is not None
            rule = {"aggregation": rule_of(config.privacy)} if private else {}
            return config.algorithm.build(model=model, input_shape=input_shape, **rule)
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
        check_optimizer(own)
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
        pairs: list[tuple[str, Callable[..., Any]]] = []
        for name in config.metrics:
            if is_given(name):
                short = name.removeprefix("given ").rpartition(" ")[0]
                if short not in own:
                    raise absent("metrics", name)
                pairs.append((short, own[short]))
            else:
                pairs.append((name.rpartition(":")[2], metric_of(name)))
        check_metrics(pairs, num_classes)
        return tuple(pairs)

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
    told: str,
    settings: configs.ModelConfig,
    num_classes: int,
    input_shape: tuple[int, ...],
    lowering: str,
) -> Any:
    """Built once, so that what is compiled for a model of one's own serves again.

    ``told`` tells settings apart that are equal and yet not the same, such as 1 and True.
    """
    try:
        built = settings.build(num_classes=num_classes, input_shape=input_shape, lowering=lowering)
        return models.adapted(built)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"model.name: {settings.name} raised {one_line(error)}") from error
