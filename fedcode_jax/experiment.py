"""From a config to a result: everything built, run and written down."""

import dataclasses
import inspect
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import algorithms, data, models, results, schedules, wire
from fedcode_jax import config as configs
from fedcode_jax.clients import ClientData, LocalTraining, Plan, optimizer, plan_choices
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.network import Network
from fedcode_jax.simulation import EvaluationData, Program, State, checkpoint, simulate
from fedcode_jax.simulation.probe import fastest_plan


class Observer(Protocol):
    """Who watches a run; the command shows a progress bar this way."""

    def started(self, info: Mapping[str, str], rounds: int) -> None:
        """Called once, before the first round, with lines for people."""

    def advanced(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Called after every evaluation with the new records."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Called once, with the summary."""


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
            "data": str(self.dataset),
            "partition": f"{self.partition}; {self.program.cohort} a round",
            "model": f"{self.config.model.name}: {parameters:,} parameters{state}",
            "plan": str(self.program.plan),
            "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        }

    @property
    def fedavg_message(self) -> wire.Message:
        """One FedAvg message of this model: every value as float32."""
        values = sum(leaf.size for leaf in jax.tree.leaves(self.weights))
        return wire.Message(jnp.int32(wire.Kind.WEIGHTS), (wire.Dense(jnp.zeros(values)),))


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
      config: that made it.
      records: one dict a round, as in ``metrics.jsonl``.
      summary: as in ``summary.json``.
      weights: the server's variables after the last round; of ``local_only``, the initial ones.
      folder: where it was written, or None.
    """

    config: ExperimentConfig
    records: list[dict]
    summary: dict[str, Any]
    weights: Any
    folder: pathlib.Path | None


def build(config: ExperimentConfig) -> Experiment:
    """Loads and builds everything a config names, and checks what only the data can tell.

    Nothing is compiled here but the initial weights, and trial rounds if
    ``execution.plan`` is ``probe``.

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
    dataset = data.load(
        config.data.name,
        path=config.data.path,
        num_classes=config.data.num_classes,
        shape=config.data.shape,
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
            config.model.name, dataset.num_classes, norm=config.model.norm, lowering=lowering
        )

    clients = ClientData.from_arrays(
        dataset.train_x, dataset.train_y, dataset.mean, dataset.std, partition.clients
    )
    test = EvaluationData.from_arrays(dataset.test_x, dataset.test_y, dataset.mean, dataset.std)
    weights = models.init(model("native"), jax.random.key(config.seed), dataset.input_shape)

    def program(plan: Plan) -> Program:
        return Program(
            algorithm=_algorithm(config.algorithm),
            schedule=_schedule(config.schedule),
            training=_training(config.local, model(plan.conv)),
            model=model("native"),
            plan=plan,
            data=clients,
            test=test,
            cohort=cohort,
            max_size=max(sizes),
            seed=config.seed,
        )

    settings = config.execution
    plans = plan_choices(
        jax.default_backend(),
        weights=weights,
        sizes=sizes,
        cohort=cohort,
        epochs=config.local.epochs,
        batch_size=config.local.batch_size,
        chunk=settings.chunk,
        client_axis=settings.client_axis,
        conv=settings.conv,
        precision=settings.precision,
    )
    plan = plans[0] if settings.plan == "auto" else fastest_plan(plans, program, weights)
    return Experiment(config, dataset, partition, program(plan), weights)


def run(
    config: ExperimentConfig,
    *,
    observer: Observer | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Result:
    """Runs one experiment, and writes its folder if ``config.out`` names one.

    Args:
      config: the experiment.
      observer: is told of the start, of every evaluation and of the end.
      overwrite: replaces a run that ``config.out`` already holds.
      resume: goes on from the latest checkpoint in ``config.out``.

    Returns:
      The result. A run that diverged or was interrupted (one Ctrl-C) has one too; its
      ``summary["status"]`` says so.

    Raises:
      ConfigError: a setting that cannot be used, or a folder that holds a run.
      DataError: the data set is missing or malformed.
      CheckpointError: there is nothing to resume, or it does not fit.

    Example:
      >>> result = run(ExperimentConfig(rounds=1))
      >>> result.summary["status"], result.summary["total_downlink_bytes"]
      ('completed', 50330)
    """
    if config.out is not None and not (overwrite or resume):
        results.RunFolder.check_free(config.out)
    if resume:
        _check_same(config)
    experiment = build(config)
    program = experiment.program
    state, folder = program.start(experiment.weights), None
    records: list[dict] = []
    if resume:
        latest = checkpoint.latest(pathlib.Path(config.out or "") / results.CHECKPOINTS)
        state = checkpoint.restore(latest, state)
        folder, records = results.RunFolder.reopen(config.out or "", rounds=int(state.round))
    elif config.out is not None:
        folder = results.RunFolder.create(
            config.out,
            configs.to_yaml(config),
            results.installed_versions(experiment.info["device"]),
            overwrite=overwrite,
        )
        folder.describe(experiment.dataset, experiment.partition)
    if observer is not None:
        observer.started(experiment.info, config.rounds)

    saved = int(state.round)

    def advanced(new: list[dict], state: State) -> None:
        nonlocal saved
        if folder is not None:
            folder.append(new)
            done = new[-1]["round"]
            if config.checkpoint_every and done - saved >= config.checkpoint_every:
                checkpoint.save(folder.checkpoints, state)
                saved = done
        if observer is not None:
            observer.advanced(new)

    outcome = simulate(
        program,
        state,
        rounds=config.rounds,
        eval_every=config.eval_every,
        link=_network(config.network),
        records=records,
        advanced=advanced,
    )
    summary = summary_of(experiment, outcome.records, outcome.status)
    if folder is not None:
        if len(outcome.records) > saved:
            checkpoint.save(folder.checkpoints, outcome.state)
        label = f"{config.algorithm.name} on {config.data.name}"
        results.plot_curves({label: outcome.records}, folder.path / results.CURVES)
        folder.finish(summary)
    if observer is not None:
        observer.finished(summary)
    weights, _ = program.algorithm.report(outcome.state.server, outcome.state.store)
    return Result(
        config=config,
        records=outcome.records,
        summary=summary,
        weights=jax.tree.map(lambda leaf: np.asarray(leaf[0]), weights),
        folder=folder.path if folder is not None else None,
    )


def _check_same(config: ExperimentConfig) -> None:
    """Checks that a run to be resumed has the config that its folder holds, but for rounds."""
    if config.out is None:
        raise ConfigError("out: --resume needs the folder of a run; pass --out")
    text = results.read(config.out).config_text
    free = {"rounds": config.rounds, "out": config.out, "checkpoint_every": config.checkpoint_every}
    earlier = configs.to_dict(configs.replace(configs.from_yaml(text), free))
    for section, value in configs.to_dict(config).items():
        if value != earlier[section]:
            raise ConfigError(
                f"{section}: {value!r} is not what the run in {config.out!r} has, "
                f"{earlier[section]!r}; to resume it, pass --config {config.out}/config.yaml"
            )


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


def _training(settings: configs.LocalConfig, model: Any) -> LocalTraining:
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
        augment=data.augment.augmentations[settings.augment],
    )


def _network(settings: configs.NetworkConfig) -> Network:
    return Network(**dataclasses.asdict(settings))


def summary_of(
    experiment: Experiment, records: list[dict], status: results.Status
) -> dict[str, Any]:
    """The closing figures of a run, as ``summary.json`` holds them.

    Args:
      experiment: what ran.
      records: one dict a round.
      status: how it ended.

    Returns:
      The figures of ``results.summarise``, and the mean padding waste, the compilations, the
      plan, the network and the checksums of data and partition.
    """
    program, message = experiment.program, experiment.fedavg_message
    messages = 2 * program.cohort * len(records)
    summary = results.summarise(
        records,
        period=experiment.period,
        status=status,
        fedavg_bytes=messages * int(wire.size_bits(message)) / 8,
        fedavg_formula_bits=messages * int(wire.formula_bits(message)),
        compile_seconds=program.compile_seconds,
    )
    wastes = [record["padding_waste"] for record in records]
    return {
        **summary,
        "padding_waste": sum(wastes) / len(wastes) if wastes else None,
        "compilations": program.compilations,
        "plan": str(program.plan),
        "partition_checksum": experiment.partition.checksum,
        "data_checksum": experiment.dataset.checksum,
        "network": str(_network(experiment.config.network)),
    }
