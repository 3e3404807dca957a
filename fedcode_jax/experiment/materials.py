"""What a config names, one by one: data, partition, model, algorithm, settings."""

import functools
import inspect
from typing import Any

import jax
import numpy as np

from fedcode_jax import algorithms, compress, data, models, schedules
from fedcode_jax import config as configs
from fedcode_jax.clients import ClientData, LocalTraining, Plan
from fedcode_jax.clients.optimizers import optimizer
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.data import Dataset
from fedcode_jax.data.partition import Partition
from fedcode_jax.errors import ConfigError
from fedcode_jax.network import Network
from fedcode_jax.simulation import EvaluationData, Settings


def dataset_of(config: ExperimentConfig) -> Dataset:
    """Loads the data set."""
    settings = config.data
    return data.load(
        settings.name,
        path=settings.path,
        dir=settings.dir,
        num_classes=settings.num_classes,
        shape=settings.shape,
        features=settings.features,
        train_size=settings.train_size,
        test_size=settings.test_size,
        seed=config.seed,
    )


def partition_of(config: ExperimentConfig, dataset: Dataset) -> Partition:
    """Deals the training samples to the clients."""
    settings = config.partition
    return data.partition.make(
        settings.name,
        dataset,
        num_clients=settings.num_clients,
        alpha=settings.alpha,
        classes_per_client=settings.classes_per_client,
        min_size=settings.min_size,
        seed=config.seed,
    )


def cohort_of(config: ExperimentConfig, partition: Partition) -> int:
    """M, clients in a round."""
    cohort = config.clients_per_round or partition.num_clients
    if cohort > partition.num_clients:
        raise ConfigError(
            f"clients_per_round: {cohort} cannot be used; partition {config.partition.name} "
            f"has {partition.num_clients} clients"
        )
    return cohort


def model_of(config: ExperimentConfig, dataset: Dataset, lowering: str = "native") -> Any:
    """The model, its convolutions lowered as told."""
    return models.make(
        config.model.name,
        dataset.num_classes,
        norm=config.model.norm,
        width=config.model.width,
        lowering=lowering,
    )


def weights_of(config: ExperimentConfig, dataset: Dataset) -> Any:
    """The initial variables of the model."""
    weights = _initial(model_of(config, dataset), dataset.input_shape)(config.seed)
    if config.local.fix_norm_after is not None and "batch_stats" not in weights:
        raise ConfigError(
            f"local.fix_norm_after: {config.local.fix_norm_after} cannot be used; "
            f"{config.model.name} has no batch norm here: set model.norm to batch, or this to None"
        )
    if config.local.fix_norm_after is not None:
        models.check_fixed_norm(model_of(config, dataset), dataset.input_shape)
    return weights


@functools.lru_cache(maxsize=8)
def _initial(model: Any, input_shape: tuple[int, ...]) -> Any:
    """Compiled once, however many seeds there are."""
    return jax.jit(lambda seed: models.init(model, jax.random.key(seed), input_shape))


def clients_of(dataset: Dataset, partition: Partition) -> ClientData:
    """The training set and who holds which samples."""
    return ClientData.from_arrays(
        dataset.train_x, dataset.train_y, dataset.mean, dataset.std, partition.clients
    )


def test_of(
    dataset: Dataset, partition: Partition, *, batch_size: int, devices: int
) -> EvaluationData:
    """The test set, with the class shares of the clients."""
    counts = partition.counts(dataset.train_y, dataset.num_classes)
    return EvaluationData.from_arrays(
        dataset.test_x,
        dataset.test_y,
        dataset.mean,
        dataset.std,
        users=dataset.test_user,
        shares=counts / counts.sum(axis=1, keepdims=True),
        batch_size=batch_size,
        devices=devices,
    )


def algorithm_of(settings: configs.AlgorithmConfig) -> algorithms.Algorithm:
    """The algorithm, with those of the settings that it takes."""
    up, down = (
        compress.make(section.section, section.given()) for section in (settings.up, settings.down)
    )
    return _call(algorithms.registry[settings.name], settings, up=up, down=down)


def network_of(settings: configs.NetworkConfig) -> Network:
    """The links and devices."""
    return _call(Network, settings)


def settings_of(config: ExperimentConfig, num_clients: int) -> Settings:
    """What of an experiment is traced."""
    schedule = _call(
        schedules.registry[config.schedule.name], config.schedule, rounds=config.rounds
    )
    in_time = np.bool_(config.schedule.uplink == "in_time")
    return Settings(
        seed=np.uint32(config.seed),
        schedule=schedule.with_settings(in_time=in_time),
        learning_rate=np.float32(config.local.learning_rate),
        rounds=np.int32(config.rounds),
        links=network_of(config.network).links(num_clients, config.seed),
    )


def is_sketched(config: ExperimentConfig, algorithm: algorithms.Algorithm | None = None) -> bool:
    """Whether uploads carry a sketch of the weights, by the config's algorithm or another."""
    drifts = config.schedule.name == "drift" and config.schedule.measure == "sketch"
    if not drifts:
        return False
    return (algorithm or algorithm_of(config.algorithm)).schedule is None


def training_of(config: ExperimentConfig, dataset: Dataset, plan: Plan) -> LocalTraining:
    """What a client does, the model lowered as the plan says."""
    local = config.local
    return LocalTraining(
        model=model_of(config, dataset, plan.conv),
        optimizer=functools.partial(_optimizer, local),
        epochs=local.epochs,
        batch_size=local.batch_size,
        augment=data.augment.make(local.augment, dataset.input_shape, dataset.train_x.dtype),
        dtype=plan.dtype,
        fix_norm_after=local.fix_norm_after,
        decay=local.decay,
    )


def _optimizer(settings: configs.LocalConfig, learning_rate: jax.Array) -> Any:
    return optimizer(
        settings.optimizer, learning_rate, settings.weight_decay, settings.optimizer_args
    )


def _call(factory: Any, settings: Any, **others: Any) -> Any:
    """Calls a function with those of the settings that it takes and that are set."""
    accepted = inspect.signature(factory).parameters
    given = {name: others.get(name, getattr(settings, name, None)) for name in accepted}
    return factory(**{name: value for name, value in given.items() if value is not None})
