"""The whole experiment as data: frozen dataclasses, checked when they are made.

Each field carries its check in its annotation and its help text below it; the command shows that
text. Other rooms' registries are imported only when a name differs from the default, so making
``ExperimentConfig()`` imports neither JAX nor a data set.
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.communication import AlgorithmConfig, NetworkConfig, ScheduleConfig
from fedcode_jax.config.learning import DataConfig, LocalConfig, ModelConfig, PartitionConfig
from fedcode_jax.config.section import Section
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


@dataclasses.dataclass(frozen=True)
class ExperimentConfig(Section):
    """One experiment; the defaults are FedCode on scikit-learn's handwritten digits.

    Every field is checked when the config is made.

    Raises:
      ConfigError: names the setting in dotted form, its value and what is allowed.

    Example:
      >>> ExperimentConfig(rounds=3).algorithm.num_clusters
      64
      >>> ExperimentConfig(schedule=ScheduleConfig(server_period=0))
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
    """Rounds between two checkpoints, at evaluations; None: one at the end."""
    out: Annotated[str | None, checks.path] = None
    """Folder of the run."""
    data: DataConfig = DataConfig()
    """The data set."""
    partition: PartitionConfig = PartitionConfig()
    """How the training samples are dealt to the clients."""
    model: ModelConfig = ModelConfig()
    """The model that is trained."""
    local: LocalConfig = LocalConfig()
    """What a client does between receiving and sending."""
    algorithm: AlgorithmConfig = AlgorithmConfig()
    """What is sent, and how the server combines it."""
    schedule: ScheduleConfig = ScheduleConfig()
    """In which rounds weights are sent, and in which codebooks alone."""
    network: NetworkConfig = NetworkConfig()
    """The links on which the simulated time is reckoned."""
    execution: ExecutionConfig = ExecutionConfig()
    """How the experiment runs on this machine."""

    def check_together(self) -> None:
        """Checks what depends on several sections."""
        self._check_schedule()
        per_round, clients = self.clients_per_round, self.partition.num_clients
        if per_round is None or self.partition.name == "by_user":  # the data say how many
            return
        if per_round > clients:
            raise ConfigError(
                f"clients_per_round: {per_round} cannot be used; it must not be more than"
                f" partition.num_clients, which is {clients}"
            )

    def _check_schedule(self) -> None:
        schedule, algorithm = self.schedule, self.algorithm
        if schedule.uplink == "in_time" and self.network.deadline is None:
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
        if algorithm.block > 1 and schedule.measure == "codebook":
            raise ConfigError(
                "schedule.measure: 'codebook' cannot be used with algorithm.block"
                f" {algorithm.block}: codewords have no order; set it to sketch"
            )
