"""The whole experiment as data: frozen dataclasses, checked when they are made.

Each field carries its check in its annotation and its help text below it; the command shows that
text. Other rooms' registries are imported only when a name differs from the default, so making
``ExperimentConfig()`` imports neither JAX nor a data set.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.checks import registered
from fedcode_jax.config.section import Section
from fedcode_jax.errors import ConfigError


def _check_groups(setting: str, value: Any) -> str:
    from fedcode_jax.algorithms import groups

    groups.parse(checks.text(setting, value))
    return value


def _check_augment(setting: str, value: Any) -> str:
    from fedcode_jax.data import augment

    augment.parse(checks.text(setting, value))
    return value


@dataclasses.dataclass(frozen=True)
class DataConfig(Section):
    """The data set."""

    section: ClassVar[str] = "data."

    name: Annotated[str, checks.text] = "digits"
    """Data set: digits (scikit-learn's, no download), npz, synthetic, or the name of an
    image-classification set of tensorflow-datasets or speech_commands; fedcode data list."""
    path: Annotated[tuple[str, ...] | None, checks.paths] = None
    """File or files to read (npz only)."""
    dir: Annotated[str | None, checks.path] = None
    """Folder of prepared sets of tensorflow-datasets, or the extracted archive of speech_commands;
    None: tensorflow-datasets' own. What is not there is downloaded to it."""
    num_classes: Annotated[int | None, checks.whole(1)] = None
    """Number of classes (npz, synthetic); None: as the data set has."""
    shape: Annotated[tuple[int, ...] | None, checks.sizes] = None
    """Shape of one sample (synthetic only)."""
    train_size: Annotated[int | None, checks.whole(1)] = None
    """Number of training samples (synthetic only)."""
    test_size: Annotated[int | None, checks.whole(1)] = None
    """Number of test samples (synthetic only)."""
    features: Literal["raw", "log_mel"] | None = None
    """What the model sees of a sample: raw, or log_mel, the log-mel spectrogram of a waveform of
    16,000 samples a second; None: log_mel for speech_commands, else raw."""

    def check_together(self) -> None:
        """Checks that there is such a data set."""
        if self.name != type(self).name:
            from fedcode_jax.data import sources

            sources.find(self.name, self.dir)


@dataclasses.dataclass(frozen=True)
class PartitionConfig(Section):
    """How the training samples are dealt to the clients."""

    section: ClassVar[str] = "partition."

    name: Annotated[str, registered("fedcode_jax.data.partition", "registry")] = "iid"
    """Law: iid, multinomial, dirichlet (label skew), imbalanced, by_class or by_user."""
    num_clients: Annotated[int, checks.whole(1)] = 10
    """Number of clients; by_user has as many as there are users instead."""
    alpha: Annotated[float, checks.real(0, above=True)] = 0.5
    """Concentration of the Dirichlet rules; the smaller, the less alike the clients."""
    classes_per_client: Annotated[int, checks.whole(1)] = 2
    """Classes that each client holds (by_class only)."""
    min_size: Annotated[int, checks.whole(1)] = 1
    """Fewest samples a client may have."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(Section):
    """The model that is trained."""

    section: ClassVar[str] = "model."

    name: Annotated[str, registered("fedcode_jax.models", "registry")] = "cnn"
    """Architecture: mlp; cnn, cnn_fedavg (McMahan et al.), cnn_pfl (pfl-research's benchmark) or
    lenet5; resnet8, resnet14, resnet20, resnet32, resnet56, wrn_16_4 or mobilenet_v2, for images;
    yamnet, for log-mel features."""
    norm: Annotated[str | None, checks.text] = None
    """Normalisation layers: batch, group or none, in lower case; None: as the model has."""
    width: Annotated[float | None, checks.real(0, above=True)] = None
    """Factor of all channels (mobilenet_v2, yamnet); None: 1."""

    def check_together(self) -> None:
        """Checks that the model has this normalisation and can have a width."""
        if self.norm is not None or self.width is not None:
            from fedcode_jax import models

            models.make(self.name, num_classes=2, norm=self.norm, width=self.width)


@dataclasses.dataclass(frozen=True)
class LocalConfig(Section):
    """What a client does between receiving and sending."""

    section: ClassVar[str] = "local."

    optimizer: Annotated[str, checks.text] = "adam"
    """Any optax optimiser that takes a learning rate, e.g. adam, sgd or adamw."""
    learning_rate: Annotated[float, checks.real(0, above=True)] = 1e-3
    """Step size of the optimiser."""
    epochs: Annotated[int, checks.whole(1)] = 4
    """Passes over the client's own samples in each round."""
    batch_size: Annotated[int, checks.whole(1)] = 32
    """Samples per step; the last, smaller batch is used too."""
    weight_decay: Annotated[float, checks.real(0)] = 0.0
    """L2 coefficient added to the gradient before the optimiser sees it; 0 for none."""
    augment: Annotated[str, _check_augment] = "none"
    """Augmentation of the training samples: none, crop_flip (images), time_shift or spec_augment
    (sound), or several joined by +, such as time_shift+spec_augment."""
    fix_norm_after: Annotated[int | None, checks.whole(1)] = None
    """Last round in which batch norm takes its statistics from the batches; in later ones it
    trains with the running averages as they then are (FixBN). None: never fixed."""
    optimizer_args: Annotated[dict[str, float], checks.named_numbers] = dataclasses.field(
        default_factory=dict, hash=False
    )
    """Further arguments of the optimiser, e.g. momentum=0.9 for sgd."""

    def check_together(self) -> None:
        """Checks that optax has the optimiser, and the optimiser the arguments."""
        if self.optimizer == "adam" and not self.optimizer_args:
            return
        from fedcode_jax.clients.optimizers import optimizer

        optimizer(self.optimizer, self.learning_rate, arguments=self.optimizer_args)


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig(Section):
    """What is sent, and how the server combines it."""

    section: ClassVar[str] = "algorithm."

    name: Annotated[str, registered("fedcode_jax.algorithms", "registry")] = "fedcode"
    """fedcode or fedavg; or a control: skip, local_only, weight_clustering, fedavg_every."""
    num_clusters: Annotated[int, checks.whole(1, 65536)] = 64
    """Centers K of each codebook."""
    groups: Annotated[str, _check_groups] = "kernels"
    """Which values share a codebook: kernels, layers (a codebook for each kernel), everything (the
    authors' program), or parts such as kernel=coded,bias+norm+stats=dense."""
    merge: Literal["union", "rank_mean"] = "union"
    """How the server combines the clients' codebooks in a codebook round (fedcode only): union,
    the paper's, or rank_mean, the mean of the centers of equal rank."""
    coding: Annotated[str, registered("fedcode_jax.wire", "CODINGS")] = "fixed"
    """How codes are written: fixed (ceil(log2 K) bits each); entropy (by their frequencies);
    adaptive (frequencies learnt on the way, by layer); conditional (given the codes that both
    sides hold from the last weights message between them)."""
    period: Annotated[int, checks.whole(1)] = 5
    """Rounds between two exchanges (fedavg_every only)."""
    block: Annotated[int, checks.whole(1, 256)] = 1
    """Consecutive values B that share a code; above 1, codewords are vectors."""
    rate_weight: Annotated[float, checks.real(0)] = 0.0
    """Price of a bit of code length in the fit of codebooks, in squared error relative to the
    variance of the values; 0: plain k-means. Needs a coding other than fixed."""

    def check_together(self) -> None:
        """Checks that the settings of codebooks go with each other."""
        settings = (self.coding, self.block, self.rate_weight)
        if settings == ("fixed", 1, 0.0):
            return
        from fedcode_jax.algorithms import fedcode

        fedcode(self.num_clusters, self.groups, self.merge, *settings)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(Section):
    """In which rounds weights are sent, and in which codebooks alone."""

    section: ClassVar[str] = "schedule."

    name: Annotated[str, registered("fedcode_jax.schedules", "registry")] = "periodic"
    """Rule: periodic sends weights in the first rounds and then every so many."""
    start: Annotated[int, checks.whole(0)] = 2
    """Last round in which the server always sends weights; the clients stop a round sooner."""
    server_period: Annotated[int, checks.whole(1)] = 5
    """f1: afterwards the server sends weights every f1 rounds; 1: always."""
    client_period: Annotated[int, checks.whole(1)] = 2
    """f2: afterwards the clients send weights every f2 rounds; 1: always."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Section):
    """The links on which the simulated time is reckoned: a scenario, not a standard."""

    section: ClassVar[str] = "network."

    uplink_mbit: Annotated[float, checks.real(0, above=True)] = 1.0
    """Uplink of each client in Mbit/s."""
    downlink_mbit: Annotated[float, checks.real(0, above=True)] = 10.0
    """Downlink of each client in Mbit/s."""
    round_trip: Annotated[float, checks.real(0)] = 0.05
    """Round-trip time in seconds."""
    samples_per_second: Annotated[float | None, checks.real(0, above=True)] = None
    """Training speed of a client; None: computing time is not counted."""


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
        """Checks that a round does not ask for more clients than there are."""
        per_round, clients = self.clients_per_round, self.partition.num_clients
        if per_round is None or self.partition.name == "by_user":  # the data say how many
            return
        if per_round > clients:
            raise ConfigError(
                f"clients_per_round: {per_round} cannot be used; it must not be more than"
                f" partition.num_clients, which is {clients}"
            )
