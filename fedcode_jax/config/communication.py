"""What is sent, when and over what: the sections of algorithm, schedule and network."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.checks import registered
from fedcode_jax.config.section import Section
from fedcode_jax.errors import ConfigError
from fedcode_jax.limits import check_probability


def _check_groups(setting: str, value: Any) -> str:
    from fedcode_jax.algorithms import groups

    groups.parse(checks.text(setting, value))
    return value


@dataclasses.dataclass(frozen=True)
class CompressorConfig(Section):
    """How changes are compressed in one direction."""

    name: Annotated[str, registered("fedcode_jax.compress", "registry")] = "none"
    """none; codebook, K centers and a code for each value; topk, the largest values alone."""
    num_clusters: Annotated[int, checks.whole(1, 65536)] = 3
    """Of codebook: centers K."""
    coding: Annotated[str, registered("fedcode_jax.wire", "CODINGS")] = "adaptive"
    """Of codebook: how codes are written, as of algorithm.coding; not conditional."""
    rate_weight: Annotated[float, checks.real(0)] = 0.0
    """Of codebook: price of a bit of code length, as of algorithm.rate_weight."""
    fraction: Annotated[float, checks.real(0, 1, above=True)] = 0.01
    """Of topk: share of the values that are sent."""

    def check_together(self) -> None:
        """Checks the settings that the compressor takes, and that no others are set."""
        if self.is_default:
            return
        from fedcode_jax import compress

        compress.make(self.section, self.given())

    @property
    def is_default(self) -> bool:
        """Whether no setting was changed."""
        fields = dataclasses.fields(self)
        return all(getattr(self, field.name) == field.default for field in fields)

    def given(self) -> dict[str, Any]:
        """The settings that are to have an effect: the name, and those that were changed."""
        always = ("name", "error_feedback")
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in always or getattr(self, field.name) != field.default
        }


@dataclasses.dataclass(frozen=True)
class UpConfig(CompressorConfig):
    """How the clients' changes are compressed."""

    section: ClassVar[str] = "algorithm.up."

    error_feedback: Literal["float32", "bfloat16", "coded", "none"] = "float32"
    """How a client keeps what was left out of a change, to add it to the next one: in 4, 2 or 1
    bytes a value; none: it is dropped."""


@dataclasses.dataclass(frozen=True)
class DownConfig(CompressorConfig):
    """How the server's changes are compressed; what is left out goes with the next ones."""

    section: ClassVar[str] = "algorithm.down."


@dataclasses.dataclass(frozen=True)
class AlgorithmConfig(Section):
    """What is sent, and how the server combines it."""

    section: ClassVar[str] = "algorithm."

    name: Annotated[str, registered("fedcode_jax.algorithms", "registry")] = "fedcode"
    """fedcode or fedavg; or a control: skip, local_only, weight_clustering, fedavg_every."""
    num_clusters: Annotated[int, checks.whole(1, 65536)] = 64
    """Centers K of each codebook."""
    groups: Annotated[str | None, _check_groups] = None
    """Which values share a codebook, or are compressed together: kernels, layers (each kernel by
    itself), params (all that is trained), everything (the authors' program), or parts such as
    kernel=coded,bias+norm+stats=dense; None: params for changes (fedavg), else kernels."""
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
    rate_weight: Annotated[float, checks.real(0, 1e6)] = 0.0
    """Price of a bit of code length in the fit of codebooks, in squared error relative to the
    variance of the values; 0: plain k-means. Needs a coding other than fixed."""

    up: UpConfig = UpConfig()
    """How the clients' changes are compressed (fedavg only)."""
    down: DownConfig = DownConfig()
    """How the server's changes are compressed (fedavg only)."""

    def check_together(self) -> None:
        """Checks that the settings of codebooks go with each other."""
        for name, section in (("up", self.up), ("down", self.down)):
            if self.name != "fedavg" and not section.is_default:
                raise ConfigError(
                    f"algorithm.{name}.name: {section.name!r} cannot be used with algorithm.name "
                    f"{self.name}, which compresses in its own way; set algorithm.name to fedavg"
                )
        settings = (self.coding, self.block, self.rate_weight)
        if settings == ("fixed", 1, 0.0):
            return
        from fedcode_jax.algorithms import fedcode

        fedcode(self.num_clusters, self.groups or "kernels", self.merge, *settings)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(Section):
    """In which rounds weights are sent, and in which codebooks alone."""

    section: ClassVar[str] = "schedule."

    name: Annotated[str, registered("fedcode_jax.schedules", "registry")] = "periodic"
    """Rule: periodic (the paper's), weights in the first rounds and then every f1 and f2; paired,
    the same, but the server a round after the clients, when it has averaged; warmup, often at
    first, in gaps that double up to f1 and f2; late, its mirror in time; step_size (QSR), in gaps
    that grow as the learning rate falls; drift, when models have moved by more than a threshold;
    budget, as often as a number of megabytes allows."""
    start: Annotated[int, checks.whole(0)] = 2
    """Last round in which the server always sends weights; the clients stop a round sooner. Of the
    rule late: rounds at the end."""
    server_period: Annotated[int, checks.whole(1)] = 5
    """f1: afterwards the server sends weights every f1 rounds; 1: always. The longest gap of warmup
    and late, the shortest of step_size; drift and budget do not use it."""
    client_period: Annotated[int, checks.whole(1)] = 2
    """f2: the same of the clients. Reported accuracy is a mean over lcm(f1, f2) rounds, where that
    is not more than there are; drift, budget and step_size have no such period."""
    alpha: Annotated[float, checks.real(0, above=True)] = 1e-3
    """Of step_size: gaps are (alpha / learning rate)^2 rounds, if that is more than f1 and f2."""
    measure: Literal["codebook", "sketch"] = "codebook"
    """What drift measures: how far codebooks have moved, relative to their spread, or the variance
    among the clients' models, relative to their size, from a sketch of 32 floats in each upload."""
    threshold: Annotated[float, checks.real(0, above=True)] = 0.1
    """Of drift: above it weights are sent."""
    budget_mb: Annotated[float, checks.real(0, 1e30, above=True)] = 2.0
    """Of budget: megabytes both ways, of all clients, in the whole run. It must pay for all
    codebooks, the first weights of the clients that are to be expected, and a calibration."""
    uplink: Literal["all", "in_time"] = "all"
    """Which clients are asked for weights when their time has come: all, or those that can expect
    to deliver them by network.deadline; the others send their codebook, or nothing where the
    algorithm has none."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Section):
    """The links and devices on which simulated time is reckoned: a scenario, not a standard."""

    section: ClassVar[str] = "network."

    name: Annotated[str, registered("fedcode_jax.network", "presets")] = "mobile"
    """Links: mobile (1 Mbit/s up, 10 down), symmetric (2 both ways), field_guide (0.25 and 0.75
    MB/s), flash (log-normal fit to measured devices), or table, your own file."""
    uplink_mbit: Annotated[float | None, checks.real(1e-9, 1e24)] = None
    """Median uplink of a client in Mbit/s; None: as the name says."""
    downlink_mbit: Annotated[float | None, checks.real(1e-9, 1e24)] = None
    """Median downlink of a client in Mbit/s; None: as the name says."""
    round_trip: Annotated[float, checks.real(0, 1e30)] = 0.05
    """Round-trip time in seconds, for each exchange."""
    link_spread: Annotated[float | None, checks.real(0, 1e3)] = None
    """Standard deviation of ln(rate) among clients; None: as the name says."""
    link_jitter: Annotated[float | None, checks.real(0, 1e3)] = None
    """Coefficient of variation of a client's rates among rounds; None: as the name says."""
    samples_per_second: Annotated[float | None, checks.real(1e-9, 1e30)] = None
    """Training speed of the median client; None: training takes no time."""
    fit_seconds: Annotated[float, checks.real(0, 1e30)] = 0.0
    """Seconds that the median client takes to fit its codebooks, once a round."""
    speed_spread: Annotated[float, checks.real(0, 1e3)] = 0.0
    """Standard deviation of ln(speed) among clients."""
    dropout: Annotated[float, check_probability] = 0.0
    """Probability that a client is away for a round: nothing is sent either way."""
    loss: Annotated[float, check_probability] = 0.0
    """Probability that an upload is lost after it was sent."""
    deadline: Annotated[float | None, checks.real(0, above=True)] = None
    """Seconds after which the server ends a round without those who are late; None: it waits."""
    table: Annotated[str | None, checks.path] = None
    """CSV file with a client a row, columns uplink_mbit and downlink_mbit, and if wanted round_trip
    and samples_per_second; clients draw from its rows. Needs the name table."""

    def check_together(self) -> None:
        """Checks that a table and its name are given together."""
        if self.name != type(self).name or self.table is not None:
            from fedcode_jax.network import Network

            Network(**dataclasses.asdict(self))
