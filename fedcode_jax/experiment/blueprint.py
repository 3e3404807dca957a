"""An experiment as it is to be: its config, its data and its parts, and what they are made into."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from fedcode_jax import algorithms, models, randomness, schedules
from fedcode_jax.clients import ClientData, LocalTraining, Plan
from fedcode_jax.config import ExperimentConfig, check_hostile, check_schedule
from fedcode_jax.data import Dataset, Partition
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.accounting import made_private
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.names import is_given, is_own
from fedcode_jax.simulation import EvaluationData, Faults, Program, Settings, hostile_clients
from fedcode_jax.simulation.evaluation_data import places_among
from fedcode_jax.simulation.fleet import Member
from fedcode_jax.simulation.planning import planned
from fedcode_jax.targets import Machine


@dataclasses.dataclass(frozen=True, eq=False)
class Blueprint:
    """What a config and one's own parts come to; each part is built once, when it is asked for.

    Attributes:
      config: the experiment.
      parts: what builds its parts.
      dataset: the data set.
      partition: which client holds which samples.
      machine: the one that programs are made for, if it is not at hand.
    """

    config: ExperimentConfig
    parts: Parts
    dataset: Dataset
    partition: Partition
    machine: Machine | None = None

    @classmethod
    def of(
        cls, config: ExperimentConfig, parts: Parts, machine: Machine | None = None
    ) -> "Blueprint":
        """Loads and deals the data."""
        dataset = parts.dataset(config)
        return cls(config, parts, dataset, parts.partition(config, dataset), machine)

    @functools.cached_property
    def cohort(self) -> int:
        """M, clients in a round."""
        clients = self.partition.num_clients
        cohort = self.config.clients_per_round or clients
        if cohort > clients:
            raise ConfigError(
                f"clients_per_round: {cohort} cannot be used; partition "
                f"{self.config.partition.name} has {clients} clients"
            )
        check_hostile(self.config.algorithm, cohort)
        return cohort

    @functools.cached_property
    def model(self) -> Any:
        """The model that is evaluated, natively lowered; one's own is checked."""
        model = self.parts.model(self.config, self.dataset)
        name = self.config.model.name
        if is_own(name) or is_given(name):
            models.check_model(model, self.dataset.input_shape, self.dataset.num_classes)
        return model

    @functools.cached_property
    def algorithm(self) -> algorithms.Algorithm:
        """The algorithm; one's own is checked."""
        name, seen = self.config.algorithm.name, (self.model, self.dataset.input_shape)
        algorithm = self.parts.algorithm(self.config, *seen)
        if is_own(name) or is_given(name):
            algorithms.check_contract(algorithm, self.shapes)
            check_schedule(self.config, algorithm.schedule is not None)
        private = made_private(algorithm, self.config.privacy, self.cohort)
        if private is not algorithm:  # what only the model tells, before anything is compiled
            algorithms.check_contract(private, self.shapes)
        return private

    @functools.cached_property
    def schedule(self) -> schedules.Schedule:
        """The schedule of the config; an algorithm may have one of its own."""
        schedule, name = self.parts.schedule(self.config), self.config.schedule.name
        if is_own(name) or is_given(name):
            schedules.check_schedule(schedule)
        return schedule

    @functools.cached_property
    def network(self) -> Any:
        """The links and devices."""
        return self.parts.network(self.config, self.partition.num_clients)

    @functools.cached_property
    def metrics(self) -> tuple:
        """Further figures of an evaluation, by name."""
        return self.parts.metrics(self.config, self.dataset.num_classes)

    @functools.cached_property
    def shapes(self) -> Any:
        """The variables of the model, as shapes."""
        return jax.eval_shape(_initial(self.model, self.dataset.input_shape), np.uint32(0))

    def weights(self) -> Any:
        """The initial variables of the model."""
        self.check_fixed_norm()
        return _initial(self.model, self.dataset.input_shape)(np.uint32(self.config.seed))

    def check_fixed_norm(self) -> None:
        """Checks that there is a batch norm to be fixed, if that is asked for."""
        last = self.config.local.fix_norm_after
        if last is None:
            return
        if "batch_stats" not in self.shapes:
            raise ConfigError(
                f"local.fix_norm_after: {last} cannot be used; {self.config.model.name} has no "
                "batch norm here: set model.norm to batch, or this to None"
            )
        models.check_fixed_norm(self.model, self.dataset.input_shape)

    def clients(self) -> ClientData:
        """The training set and who holds which samples."""
        dataset = self.dataset
        return ClientData.from_arrays(
            dataset.train_x, dataset.train_y, dataset.mean, dataset.std, self.partition.clients
        )

    @functools.cached_property
    def shares(self) -> Any:
        """f32[C, K], share of each class among the training samples of each client."""
        counts = self.partition.counts(self.dataset.train_y, self.dataset.num_classes)
        return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)

    @functools.cached_property
    def owners(self) -> Any:
        """i32[C], whose samples alone each client trains on, as of ``EvaluationData``."""
        users, test = self.dataset.train_user, self.dataset.test_user
        if users is None or test is None:
            return np.zeros(self.partition.num_clients, np.int32)
        held = [np.unique(users[rows]) for rows in self.partition.clients]
        known = [one[one >= 0] for one in held]  # samples of nobody may be among them
        owners = np.array([one[0] if len(one) == 1 else -1 for one in known])
        return places_among(test, owners)

    def test(self, *, batch_size: int, devices: int) -> EvaluationData:
        """The test set, with the class shares of the clients."""
        dataset = self.dataset
        return EvaluationData.from_arrays(
            dataset.test_x,
            dataset.test_y,
            dataset.mean,
            dataset.std,
            users=dataset.test_user,
            shares=self.shares,
            owners=self.owners,
            batch_size=batch_size,
            devices=devices,
            machine=self.machine,
        )

    @functools.cached_property
    def settings(self) -> Settings:
        """What of an experiment is traced."""
        config = self.config
        links = self.network.links(self.partition.num_clients, config.seed)
        if config.schedule.uplink == "in_time" and not np.isfinite(links.deadline):
            raise ConfigError(
                "schedule.uplink: 'in_time' cannot be used without a deadline; the network of your "
                "own has none"
            )
        return Settings(
            seed=np.uint32(config.seed),
            schedule=self.schedule,
            learning_rate=np.float32(config.local.learning_rate),
            rounds=np.int32(config.rounds),
            links=links,
            faults=self.faults,
        )

    @property
    def faults(self) -> Faults | None:
        """What may go wrong, and which clients are hostile; None in a run without faults."""
        config = self.config.faults
        if not config.on:
            return None
        if config.restart and self.algorithm.heard and not self.algorithm.restarted:
            raise ConfigError(
                f"faults.restart: {config.restart:g} cannot be used with algorithm.name "
                f"{self.config.algorithm.name}, which has heard without restarted: what both sides "
                "hold of a client cannot be taken back"
            )
        numbers = {
            name: np.float32(getattr(config, name)) for name in Faults._fields if name != "hostile"
        }
        clients, seed = self.partition.num_clients, self.config.seed
        if config.hostile and not round(config.hostile * clients):
            raise ConfigError(
                f"faults.hostile: {config.hostile:g} of {clients} clients are none; it must be at "
                f"least {1 / clients:.3g}"
            )
        return Faults(**numbers, hostile=hostile_clients(clients, config.hostile, seed))

    @property
    def sketched(self) -> bool:
        """Whether uploads carry a sketch of the weights, for a schedule that looks at it."""
        schedule: Any = self.config.schedule
        drifts = schedule.name == "drift" and schedule.measure == "sketch"
        return drifts and self.algorithm.schedule is None

    def training(self, plan: Plan) -> LocalTraining:
        """What a client does, the model lowered as the plan says."""
        local = self.config.local
        return LocalTraining(
            model=self.parts.model(self.config, self.dataset, plan.conv),
            optimizer=self.parts.optimizer(self.config),
            epochs=local.epochs,
            batch_size=local.batch_size,
            augment=self.parts.augment(self.config, self.dataset),
            dtype=plan.dtype,
            fix_norm_after=local.fix_norm_after,
            repeat_draws=local.repeat_draws,
            decay=local.decay,
            loss=self.parts.loss(self.config, self.dataset.num_classes),
        )

    def program(
        self, member: Member, max_size: int, devices: int = 1, *, may_pack: bool = True
    ) -> Program:
        """The program of this experiment, or of several that differ in their members.

        Args:
          member: weights, data, test set and settings.
          max_size: the largest number of samples of any client.
          devices: that share the clients of a round.
          may_pack: whether packed slots are chosen without being asked for.

        Returns:
          The program, under the plan that the config asks for.
        """

        def program(plan: Plan) -> Program:
            return Program(
                algorithm=self.algorithm,
                training=self.training(plan),
                model=self.model,
                plan=plan,
                data=member.data,
                test=member.test,
                settings=member.settings,
                cohort=self.cohort,
                max_size=max_size,
                sketched=self.sketched,
                metrics=self.metrics,
                client_losses=self.config.evaluate_clients,
                machine=self.machine,
            )

        execution = self.config.execution
        if execution.plan == "probe" and self.machine is not None:
            raise ConfigError(
                "execution.plan: 'probe' times programs, which cannot run for a machine that is "
                "not here; use auto"
            )
        return planned(
            program,
            member.weights,
            target=None if self.machine is None else self.machine.target,
            devices=devices,
            precision=execution.precision,
            chunk=execution.chunk,
            client_axis=execution.client_axis,
            conv=execution.conv,
            layout=execution.layout,
            may_pack=may_pack,
            deterministic=execution.deterministic,
            probe=execution.plan == "probe",
        )


@functools.lru_cache(maxsize=8)
def _initial(model: Any, input_shape: tuple[int, ...]) -> Any:
    """Compiled once, however many seeds there are."""
    return jax.jit(lambda seed: models.init(model, randomness.key(seed), input_shape))
