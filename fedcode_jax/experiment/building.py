"""Builds what a config names: data, partition, model, algorithm, plan."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import algorithms, data, models, randomness, wire
from fedcode_jax.clients import Plan
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.devices import claim_cores, device_count
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment import materials
from fedcode_jax.experiment.cache import keep_compiled_programs
from fedcode_jax.network import Network
from fedcode_jax.schedules import Exchange, rules
from fedcode_jax.simulation import Program
from fedcode_jax.simulation.fleet import Member
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
    def period(self) -> int | None:
        """Rounds after which what is sent repeats, over which accuracies are averaged.

        None where it does not repeat, or not within the run. Where the algorithm brings a schedule
        of its own (FedAvg), that of the config counts too, as far as it has a period: runs that are
        compared are averaged over equal windows.
        """
        own, period = self.program.algorithm.schedule, self.program.settings.schedule.period
        if own is not None:
            period = math.lcm(period or 1, own.period or 1)
        return period if period is not None and period <= self.config.rounds else None

    @property
    def info(self) -> dict[str, str]:
        """Lines that tell a person what will run."""
        parameters = models.count_parameters(self.weights)
        values = sum(leaf.size for leaf in jax.tree.leaves(self.weights))
        state = f" + {values - parameters:,} running statistics" if values > parameters else ""
        device = jax.devices()[0]
        ways = {way: getattr(self.config.algorithm, way).name for way in ("up", "down")}
        ways = {way: name for way, name in ways.items() if name != "none"}
        changes = {"changes": ", ".join(f"{way} {name}" for way, name in ways.items())}
        return {
            **(changes if ways else {}),
            "data": str(self.dataset).splitlines()[0],
            "partition": f"{self.partition}; {self.program.cohort} a round",
            "model": f"{self.config.model.name}: {parameters:,} parameters{state}",
            "plan": str(self.program.plan),
            "device": f"{self.program.plan.devices} x {device.device_kind} ({device.platform})",
        }

    @property
    def network(self) -> Network:
        """The simulated links and devices."""
        return materials.network_of(self.config.network)


@randomness.standardised
def build(config: ExperimentConfig, *, algorithm: algorithms.Algorithm | None = None) -> Experiment:
    """Loads and builds everything a config names, and checks what only the data can tell.

    Nothing is compiled here but the initial weights, and trial rounds if
    ``execution.plan`` is ``probe``. If JAX has not been used yet, every core of the CPU
    becomes one of its devices.

    Args:
      config: the experiment.
      algorithm: in place of the one that ``config.algorithm`` names.

    Returns:
      The experiment, ready to run.

    Raises:
      ConfigError: settings that do not fit the data, or each other, or an algorithm that does not
        keep to its contract.
      DataError: the data set is missing or malformed.

    Example:
      >>> experiment = build(ExperimentConfig())
      >>> experiment.info["model"]
      'cnn: 6,090 parameters'
    """
    claim_cores()
    keep_compiled_programs()
    dataset = materials.dataset_of(config)
    partition = materials.partition_of(config, dataset)
    devices = device_count(config.execution.devices, materials.cohort_of(config, partition))
    weights = materials.weights_of(config, dataset)
    if algorithm is not None:
        algorithms.check_contract(algorithm, weights)
    model = materials.model_of(config, dataset)
    clients = materials.clients_of(dataset, partition)
    test = materials.test_of(
        dataset,
        partition,
        batch_size=evaluation_batch(model, weights, dataset.input_shape),
        devices=devices,
    )
    settings = materials.settings_of(config, partition.num_clients)
    largest = max(len(indices) for indices in partition.clients)
    member = Member(weights, clients, test, settings)
    chosen = planned_program(
        config, dataset, partition, member, largest, devices, algorithm=algorithm
    )
    check_budget(config, chosen, weights)
    return Experiment(config, dataset, partition, chosen, weights)


def planned_program(
    config: ExperimentConfig,
    dataset: data.Dataset,
    partition: data.partition.Partition,
    member: Member,
    max_size: int,
    devices: int = 1,
    *,
    algorithm: algorithms.Algorithm | None = None,
) -> Program:
    """The program of an experiment, or of several that differ in their members, under its plan.

    Args:
      config: the experiment.
      dataset: its data set.
      partition: its partition.
      member: weights, data, test set and settings.
      max_size: the largest number of samples of any client.
      devices: that share the clients of a round.
      algorithm: in place of the one that ``config.algorithm`` names.

    Returns:
      The program.
    """
    chosen = materials.algorithm_of(config.algorithm) if algorithm is None else algorithm

    def program(plan: Plan) -> Program:
        return Program(
            algorithm=chosen,
            training=materials.training_of(config, dataset, plan),
            model=materials.model_of(config, dataset),
            plan=plan,
            data=member.data,
            test=member.test,
            settings=member.settings,
            cohort=materials.cohort_of(config, partition),
            max_size=max_size,
            sketched=materials.is_sketched(config, chosen),
        )

    execution = config.execution
    return planned(
        program,
        member.weights,
        devices=devices,
        precision=execution.precision,
        chunk=execution.chunk,
        client_axis=execution.client_axis,
        conv=execution.conv,
        probe=execution.plan == "probe",
    )


def check_budget(config: ExperimentConfig, program: Program, weights: Any) -> None:
    """Checks that a budget pays for what is sent in any case, and for a calibration.

    Args:
      config: the experiment.
      program: its program.
      weights: the initial variables of the model, or their shapes.

    Raises:
      ConfigError: the codebooks of all rounds, the weights that everybody who is to be expected is
        sent first, and one calibration cost more, codes at fixed width.
    """
    if config.schedule.name != "budget" or program.algorithm.schedule is not None:
        return
    silent = Exchange(jnp.zeros((), bool), jnp.zeros((), bool))

    def broadcast(weights: Any) -> wire.Message:
        server, _ = program.algorithm.init(weights, 1)
        return program.algorithm.broadcast(server, silent, randomness.key(0))[0]

    shapes = jax.eval_shape(broadcast, weights)
    message = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    codebook, first = (
        int(wire.size_bits(dataclasses.replace(message, kind=np.int32(kind)))) / 8e6
        for kind in (wire.Kind.CODEBOOK, wire.Kind.WEIGHTS)
    )
    quiet = 0.0 if config.algorithm.name == "skip" else codebook
    met = rules.contacted(config.rounds, program.cohort, program.data.sizes.shape[0])
    weights_messages = met + 2 * program.cohort  # with one calibration, and its answer
    needed = 2 * config.rounds * program.cohort * quiet + weights_messages * (first - quiet)
    if config.schedule.budget_mb < needed:
        raise ConfigError(
            f"schedule.budget_mb: {config.schedule.budget_mb:g} cannot be used; {config.rounds} "
            f"rounds of codebooks, weights in the first message to each of {met:.0f} clients, and "
            f"one calibration take {needed:.4g}; set more, or fewer rounds or clients_per_round"
        )
