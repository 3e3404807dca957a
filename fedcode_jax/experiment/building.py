"""Builds what a config names: data, partition, model, algorithm, plan."""

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import algorithms, data, models, schedules, wire
from fedcode_jax import config as configs
from fedcode_jax.clients import ClientData, LocalTraining, Plan, optimizer
from fedcode_jax.clients.mesh import claim_cores, device_count
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.cache import keep_compiled_programs
from fedcode_jax.network import Network
from fedcode_jax.simulation import EvaluationData, Program
from fedcode_jax.simulation.memory import evaluation_batch
from fedcode_jax.simulation.planning import planned


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A config with everything it names: data, partition, model, program.

    Attributes:
      config: the config.
      dataset: the data set.
      partition: which client holds which samples.
      program: what runs.
      weights: the initial variables of the model.
    """

    config: ExperimentConfig
    dataset: data.Dataset
    partition: data.partition.Partition
    program: Program
    weights: Any

    @property
    def period(self) -> int:
        """Rounds after which the schedules of the config and of the algorithm repeat."""
        own = self.program.algorithm.schedule
        return int(np.lcm(self.program.schedule.period, own.period if own is not None else 1))

    @property
    def info(self) -> dict[str, str]:
        """Lines that tell a person what will run."""
        parameters = models.count_parameters(self.weights)
        values = sum(leaf.size for leaf in jax.tree.leaves(self.weights))
        state = f" + {values - parameters:,} running statistics" if values > parameters else ""
        device = jax.devices()[0]
        return {
            "data": str(self.dataset).splitlines()[0],
            "partition": f"{self.partition}; {self.program.cohort} a round",
            "model": f"{self.config.model.name}: {parameters:,} parameters{state}",
            "plan": str(self.program.plan),
            "device": f"{self.program.plan.devices} x {device.device_kind} ({device.platform})",
        }

    @property
    def network(self) -> Network:
        """The simulated links and devices."""
        return Network(**dataclasses.asdict(self.config.network))

    @property
    def fedavg_message(self) -> wire.Message:
        """One FedAvg message of this model: every value as float32."""
        values = sum(leaf.size for leaf in jax.tree.leaves(self.weights))
        return wire.Message(jnp.int32(wire.Kind.WEIGHTS), (wire.Dense(jnp.zeros(values)),))


def build(config: ExperimentConfig) -> Experiment:
    """Loads and builds everything a config names, and checks what only the data can tell.

    Nothing is compiled here but the initial weights, and trial rounds if
    ``execution.plan`` is ``probe``. If JAX has not been used yet, every core of the CPU
    becomes one of its devices.

    Args:
      config: the experiment.

    Returns:
      The experiment, ready to run.

    Raises:
      ConfigError: settings that do not fit the data, or each other.
      DataError: the data set is missing or malformed.

    Example:
      >>> experiment = build(ExperimentConfig())
      >>> experiment.info["model"]
      'cnn: 6,090 parameters'
    """
    claim_cores()
    keep_compiled_programs()
    dataset = data.load(
        config.data.name,
        path=config.data.path,
        dir=config.data.dir,
        num_classes=config.data.num_classes,
        shape=config.data.shape,
        features=config.data.features,
        train_size=config.data.train_size,
        test_size=config.data.test_size,
        seed=config.seed,
    )
    partition = data.partition.make(
        config.partition.name,
        dataset,
        num_clients=config.partition.num_clients,
        alpha=config.partition.alpha,
        classes_per_client=config.partition.classes_per_client,
        min_size=config.partition.min_size,
        seed=config.seed,
    )
    cohort = config.clients_per_round or partition.num_clients
    if cohort > partition.num_clients:
        raise ConfigError(
            f"clients_per_round: {cohort} cannot be used; partition {config.partition.name} "
            f"has {partition.num_clients} clients"
        )
    sizes = [len(indices) for indices in partition.clients]

    def model(lowering: str) -> Any:
        return models.make(
            config.model.name,
            dataset.num_classes,
            norm=config.model.norm,
            width=config.model.width,
            lowering=lowering,
        )

    augment = data.augment.make(config.local.augment, dataset.input_shape, dataset.train_x.dtype)
    clients = ClientData.from_arrays(
        dataset.train_x, dataset.train_y, dataset.mean, dataset.std, partition.clients
    )
    devices = device_count(config.execution.devices, cohort)
    weights = models.init(model("native"), jax.random.key(config.seed), dataset.input_shape)
    if config.local.fix_norm_after is not None and "batch_stats" not in weights:
        raise ConfigError(
            f"local.fix_norm_after: {config.local.fix_norm_after} cannot be used; "
            f"{config.model.name} has no batch norm here: set model.norm to batch, or this to None"
        )
    counts = partition.counts(dataset.train_y, dataset.num_classes)
    test = EvaluationData.from_arrays(
        dataset.test_x,
        dataset.test_y,
        dataset.mean,
        dataset.std,
        users=dataset.test_user,
        shares=counts / counts.sum(axis=1, keepdims=True),
        batch_size=evaluation_batch(model("native"), weights, dataset.input_shape),
        devices=devices,
    )

    def program(plan: Plan) -> Program:
        return Program(
            algorithm=_algorithm(config.algorithm),
            schedule=_schedule(config.schedule),
            training=_training(config.local, model(plan.conv), augment, plan.dtype),
            model=model("native"),
            plan=plan,
            data=clients,
            test=test,
            cohort=cohort,
            max_size=max(sizes),
            seed=config.seed,
        )

    settings = config.execution
    chosen = planned(
        program,
        weights,
        devices=devices,
        precision=settings.precision,
        chunk=settings.chunk,
        client_axis=settings.client_axis,
        conv=settings.conv,
        probe=settings.plan == "probe",
    )
    return Experiment(config, dataset, partition, chosen, weights)


def _algorithm(settings: configs.AlgorithmConfig) -> algorithms.Algorithm:
    factory = algorithms.registry[settings.name]
    accepted = inspect.signature(factory).parameters
    return factory(**{name: getattr(settings, name) for name in accepted})


def _schedule(settings: configs.ScheduleConfig) -> schedules.Schedule:
    return schedules.registry[settings.name](
        start=settings.start,
        server_period=settings.server_period,
        client_period=settings.client_period,
    )


def _training(
    settings: configs.LocalConfig,
    model: Any,
    augment: data.augment.Augmentation | None,
    dtype: Any,
) -> LocalTraining:
    return LocalTraining(
        model=model,
        optimizer=optimizer(
            settings.optimizer,
            settings.learning_rate,
            settings.weight_decay,
            settings.optimizer_args,
        ),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        augment=augment,
        dtype=dtype,
        fix_norm_after=settings.fix_norm_after,
    )
