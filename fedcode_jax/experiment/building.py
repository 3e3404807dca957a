"""Builds what a config names, or what was given in its place, into an experiment."""

import dataclasses
import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import data, models, randomness, wire
from fedcode_jax.config import ExperimentConfig, presets
from fedcode_jax.devices import claim_cores, device_count
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.blueprint import Blueprint
from fedcode_jax.experiment.cache import keep_compiled_programs
from fedcode_jax.experiment.given import Given, named
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.experiment.starting import first_weights, read
from fedcode_jax.results.model_files import checksum
from fedcode_jax.schedules import Exchange, rules
from fedcode_jax.simulation import Program
from fedcode_jax.simulation.device_memory import evaluation_batch
from fedcode_jax.simulation.fleet import Member
from fedcode_jax.targets import Machine


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A config with everything it names: data, partition, model, program.

    Attributes:
      config: the config, with names for the parts that were given in Python.
      dataset: the data set.
      partition: which client holds which samples.
      program: what runs.
      weights: the initial variables of the model.
      network: the simulated links and devices.
      init_checksum: of what ``config.init`` names; None without one.
    """

    config: ExperimentConfig
    dataset: data.Dataset
    partition: data.partition.Partition
    program: Program
    weights: Any
    network: Any
    init_checksum: str | None = None

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
        machine = self.program.machine
        device = jax.devices()[0]
        what = f"{device.device_kind} ({device.platform})" if machine is None else machine.name
        return {
            "algorithm": presets.composition(self.config.algorithm),
            "data": str(self.dataset).splitlines()[0],
            "partition": f"{self.partition}; {self.program.cohort} a round",
            "model": f"{self.config.model.name}: {parameters:,} parameters{state}",
            **({} if self.config.init is None else {"starts from": self.config.init}),
            "plan": str(self.program.plan),
            "device": f"{self.program.plan.devices} x {what}",
        }


@randomness.standardised
def build(
    config: ExperimentConfig, *, machine: Machine | None = None, **given: Unpack[Given]
) -> Experiment:
    """Loads and builds everything a config names, and checks what only the data can tell.

    Nothing is compiled here but the initial weights, and trial rounds if
    ``execution.plan`` is ``probe``. If JAX has not been used yet, every core of the CPU
    becomes one of its devices.

    Args:
      config: the experiment.
      machine: the one that it is made for, if that is not at hand: the program can then be
        lowered and compiled, not run.
      **given: parts of your own in place of those that the config names, by keyword: ``model``,
        ``dataset``, ``algorithm`` and so on, see ``experiment.Given``.

    Returns:
      The experiment, ready to run.

    Raises:
      ConfigError: settings that do not fit the data, or each other, or a part of your own that does
        not keep to its contract.
      DataError: the data set is missing or malformed.

    Example:
      >>> experiment = build(ExperimentConfig())
      >>> experiment.info["model"]
      'cnn: 6,090 parameters'
    """
    claim_cores()
    keep_compiled_programs()
    config = named(config, given)
    found = None if config.init is None else read(config.init)
    blueprint = Blueprint.of(config, Parts(given), machine)
    devices = device_count(config.execution.devices, blueprint.cohort, machine)
    shape = blueprint.dataset.input_shape
    batch = evaluation_batch(blueprint.model, blueprint.shapes, shape, machine)
    member = Member(
        first_weights(blueprint, found),
        blueprint.clients(),
        blueprint.test(batch_size=batch, devices=devices),
        blueprint.settings,
    )
    largest = int(blueprint.partition.sizes.max())
    program = blueprint.program(member, largest, devices)
    check_budget(config, program, member.weights)
    return Experiment(
        config,
        blueprint.dataset,
        blueprint.partition,
        program,
        member.weights,
        blueprint.network,
        None if found is None else checksum(found),
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
    budget = getattr(config.schedule, "budget_mb", None)
    if budget is None or config.schedule.name != "budget":
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
    if budget < needed:
        raise ConfigError(
            f"schedule.budget_mb: {budget:g} cannot be used; {config.rounds} "
            f"rounds of codebooks, weights in the first message to each of {met:.0f} clients, and "
            f"one calibration take {needed:.4g}; set more, or fewer rounds or clients_per_round"
        )
