"""The whole experiment as data: frozen dataclasses, checked when they are made.

Each field carries its check in its annotation and its help text below it; the command and the
reference page show that text. Other rooms are imported only when a setting differs from its
default, so making ``ExperimentConfig()`` imports neither JAX nor a data set.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.algorithms import AlgorithmConfig, FedCode
from fedcode_jax.config.datasets import DataConfig, Digits
from fedcode_jax.config.faults import FaultsConfig
from fedcode_jax.config.models import Cnn, ModelConfig
from fedcode_jax.config.network import NetworkConfig, Preset
from fedcode_jax.config.partitions import Iid, PartitionConfig
from fedcode_jax.config.privacy import PrivacyConfig, check_privacy
from fedcode_jax.config.schedules import Periodic, ScheduleConfig
from fedcode_jax.config.section import Section
from fedcode_jax.config.training import LocalConfig
from fedcode_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ExecutionConfig(Section):
    """How the experiment runs on this machine; it does not change the result."""

    section: ClassVar[str] = "execution."

    plan: Literal["auto", "probe"] = "auto"
    """Choose the settings below by rule (auto) or by a short trial (probe)."""
    chunk: Annotated[int | None, checks.whole(1)] = None
    """Clients trained at once; None: as planned."""
    client_axis: Literal["vmap", "map"] | None = None
    """Clients of a chunk side by side (vmap) or one by one (map); None: as planned."""
    conv: Literal["native", "patches"] | None = None
    """Convolution of the backend (native) or by matrix products; None: as planned."""
    devices: Annotated[int | None, checks.whole(1)] = None
    """Devices that share the clients of a round; None: all. Each core of a CPU is one."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Precision of local training: float32; tf32, products of 10-bit mantissas on devices that have
    them; bfloat16, with weights kept and updated in float32."""
    layout: Literal["sorted", "packed"] | None = None
    """Clients side by side in chunks of like numbers of steps (sorted), or each place taken by the
    next client as soon as it is free (packed); None: as planned."""
    deterministic: bool = False
    """On GPUs, only operations that give the same bits each time, at a price (see PERFORMANCE.md);
    CPUs and TPUs have no others."""


CHECKPOINTING = ("checkpoint_every", "checkpoint_seconds", "checkpoint_keep")
"""Settings that change nothing but when a run is saved."""


@dataclasses.dataclass(frozen=True)
class ExperimentConfig(Section):
    """One experiment; the defaults are FedCode on scikit-learn's handwritten digits.

    Every field is checked when the config is made. A section is a dataclass of its settings, or a
    mapping of them; where there are several choices, ``name`` says which.

    Raises:
      ConfigError: names the setting in dotted form, its value and what is allowed.

    Example:
      >>> ExperimentConfig(rounds=3).algorithm.num_clusters
      64
      >>> sparse = {"name": "fedavg", "up": {"name": "topk"}}
      >>> ExperimentConfig(algorithm=sparse).algorithm.up.fraction
      0.01
      >>> ExperimentConfig(schedule={"server_period": 0})
      Traceback (most recent call last):
      fedcode_jax.errors.ConfigError: schedule.server_period: 0 cannot be used;
        it must be a whole number of at least 1
    """

    seed: Annotated[int, checks.whole(0, 2**32 - 1)] = 0
    """Seed of everything random: initial weights, partition, batches."""
    rounds: Annotated[int, checks.whole(1)] = 60
    """Rounds of communication."""
    clients_per_round: Annotated[int | None, checks.whole(1)] = None
    """Clients drawn for each round; None: all."""
    eval_every: Annotated[int, checks.whole(1)] = 1
    """Rounds between two evaluations; the last round is always evaluated."""
    checkpoint_every: Annotated[int | None, checks.whole(1)] = None
    """Rounds between two checkpoints; there is one at the end too."""
    checkpoint_seconds: Annotated[float | None, checks.real(0.0, above=True)] = None
    """Seconds between two checkpoints, looked at after every ten rounds and every evaluation."""
    checkpoint_keep: Annotated[int | None, checks.whole(1)] = 2
    """How many checkpoints are kept, the last ones; None: all."""
    out: Annotated[str | None, checks.path] = None
    """Folder of the run."""
    metrics: Annotated[tuple[str, ...], checks.metrics] = ()
    """Further figures of each evaluation: top5, or module:function, your own."""
    init: Annotated[str | None, checks.path] = None
    """What training starts from: a file that fedcode export wrote, any safetensors file of the
    model's variables, or the folder of a run, of which the server's weights count; None: random
    weights."""
    init_skip: Annotated[tuple[str, ...], checks.texts] = ()
    """Variables that start at random all the same, by globs on their paths, such as */head/*."""
    evaluate_clients: bool = False
    """Write clients.csv into the folder: accuracy and loss of every client (of every user, if the
    test set has users) at every evaluation. These are made in any case and take next to no longer;
    the file grows by a line a client each time."""
    log: Annotated[tuple[str, ...], checks.loggers] = ()
    """Where the run is logged besides its folder: tensorboard, wandb, mlflow (each needs its
    package), or module:factory, your own. No figure depends on it."""
    data: DataConfig = Digits()
    """The data set."""
    partition: PartitionConfig = Iid()
    """How the training samples are dealt to the clients."""
    model: ModelConfig = Cnn()
    """The model that is trained."""
    local: LocalConfig = LocalConfig()
    """What a client does between receiving and sending."""
    algorithm: AlgorithmConfig = FedCode()
    """What is sent, and how the server combines it."""
    schedule: ScheduleConfig = Periodic()
    """In which rounds weights are sent, and in which codebooks alone."""
    network: NetworkConfig = Preset()
    """The links on which the simulated time is reckoned."""
    privacy: PrivacyConfig = PrivacyConfig()
    """What is promised of a client's data."""
    faults: FaultsConfig = FaultsConfig()
    """What goes wrong with clients, uploads and the server."""
    execution: ExecutionConfig = ExecutionConfig()
    """How the experiment runs on this machine."""

    def check_together(self) -> None:
        """Checks what depends on several sections."""
        check_schedule(self, self.algorithm.own_schedule)
        plain = self.local.optimizer == "sgd" and not self.local.optimizer_args
        if self.algorithm.needs_sgd and not plain:
            raise ConfigError(
                f"local.optimizer: {self.local.optimizer} cannot be used with algorithm.name "
                f"{self.algorithm.name}, which reads gradients off what plain SGD makes of "
                "weights; set local.optimizer sgd, without local.optimizer_args, and a "
                "local.learning_rate such as 0.05"
            )
        if self.init_skip and self.init is None:
            raise ConfigError(
                f"init_skip: {list(self.init_skip)} has no use without init; leave it out"
            )
        if self.init is not None and not self.algorithm.takes_init:
            raise ConfigError(
                f"init: {self.init!r} has no use with algorithm.name {self.algorithm.name}, which "
                "learns which of its own random weights to keep; leave it out, or take another "
                "algorithm"
            )
        per_round, clients = self.clients_per_round, getattr(self.partition, "num_clients", None)
        if per_round is not None and isinstance(clients, int) and per_round > clients:
            raise ConfigError(
                f"clients_per_round: {per_round} cannot be used; it must not be more than"
                f" partition.num_clients, which is {clients}"
            )
        check_privacy(self)
        check_hostile(self.algorithm, per_round if per_round is not None else clients)


def check_hostile(algorithm: Any, cohort: Any) -> None:
    """Checks that a round has the clients that a rule of aggregation needs.

    Args:
      algorithm: of the experiment.
      cohort: clients in a round; what is no whole number is not known yet, and not checked.

    Raises:
      ConfigError: of these clients too many may be hostile.
    """
    hostile = getattr(getattr(algorithm, "aggregation", None), "hostile", None)
    if hostile is not None and isinstance(cohort, int) and 2 * hostile + 2 >= cohort:
        raise ConfigError(
            f"algorithm.aggregation.hostile: {hostile} cannot be used; a round needs more than "
            f"{2 * hostile + 2} clients for it, and has {cohort}; set fewer, or more "
            "clients_per_round"
        )


def check_schedule(config: ExperimentConfig, own_schedule: bool) -> None:
    """Checks that a schedule goes with the algorithm and the network.

    Args:
      config: the experiment.
      own_schedule: whether its algorithm says itself in which rounds weights are sent.

    Raises:
      ConfigError: they do not go together.
    """
    schedule: Any = config.schedule
    algorithm: Any = config.algorithm
    if own_schedule and schedule.adaptive:
        raise ConfigError(
            f"schedule.name: {schedule.name!r} has no use with algorithm.name {algorithm.name}, "
            "which sends in rounds of its own; leave it out"
        )
    if schedule.uplink == "in_time" and getattr(config.network, "deadline", 0) is None:
        raise ConfigError(
            "schedule.uplink: 'in_time' cannot be used without a deadline; set network.deadline"
        )
    if schedule.name != "drift":
        return
    if algorithm.name == "skip":
        raise ConfigError(
            "schedule.name: 'drift' cannot be used with algorithm.name skip, which sends"
            " nothing by which to see a drift; use budget or periodic"
        )
    if getattr(algorithm, "block", 1) > 1 and schedule.measure == "codebook":
        raise ConfigError(
            "schedule.measure: 'codebook' cannot be used with algorithm.block"
            f" {algorithm.block}: codewords have no order; set it to sketch"
        )
