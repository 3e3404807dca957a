"""The settings of the compressors of changes, in either direction."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice
from fedcode_jax.errors import ConfigError
from fedcode_jax.limits import check_probability

_Forms = Literal["float32", "bfloat16", "coded", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressorConfig(Choice):
    """How changes are compressed in one direction."""

    default: ClassVar[str] = "none"
    room: ClassVar[str] = "fedcode_jax.compress:registry"
    product: ClassVar[str] = "fedcode_jax.compress:Compressor"

    _residual: ClassVar[str] = "float32"
    """Of a member: its ``error_feedback`` unless set; empty where it has no such setting."""
    _has_memory: ClassVar[bool] = False
    """Of a member: as of a ``Compressor``."""

    name: Annotated[str, checks.text] = ""
    """none; codebook, K centers and a code for each value; dgc (up only), the largest values of
    what momentum has gathered; drive, the signs of the rotated vector; eden, the same in 0.1 to 4
    bits; fedzip, the largest values by K centers; mucsc, K centers that values are rounded to at
    random; powersgd, each kernel as a matrix of low rank; qsgd, levels rounded at random; sign, one
    bit each; stc, the largest values by one magnitude; topk, the largest values alone; or
    module:factory, a compressor of your own."""

    def check_together(self) -> None:
        """Checks that the settings go with each other."""
        if not self.is_default:
            self.build()

    def build(self, **inputs: Any) -> Any:
        """The compressor, or None for none; errors name the direction's setting."""
        if self.name == "none":
            return None
        try:
            return super().build(**inputs)
        except ConfigError as error:
            text = str(error).replace("compressor.", self.section)
            raise ConfigError(
                text if text.startswith(self.section) else self.section + text
            ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoCompressor(CompressorConfig):
    """Float32 values, all of them."""

    _residual: ClassVar[str] = ""

    name: str = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codebook(CompressorConfig):
    """K centers, fitted to the change, and a code for each value."""

    name: str = "codebook"
    num_clusters: Annotated[int, checks.whole(1, 65536)] = 3
    """Centers K."""
    coding: Literal["fixed", "entropy", "adaptive"] = "adaptive"
    """How codes are written: fixed (ceil(log2 K) bits each); entropy (by their frequencies);
    adaptive (frequencies learnt on the way)."""
    block: Annotated[int, checks.whole(1, 256)] = 1
    """Consecutive values B that share a code; above 1, codewords are vectors."""
    rate_weight: Annotated[float, checks.real(0, 1e6)] = 0.0
    """Price of a bit of code length in the fit, in squared error relative to the variance of the
    values; 0: plain k-means."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dgc(CompressorConfig):
    """The largest values of what momentum has gathered: deep gradient compression; up only."""

    _residual: ClassVar[str] = ""
    _has_memory: ClassVar[bool] = True

    name: str = "dgc"
    fraction: Annotated[float, checks.real(0, 1, above=True)] = 0.001
    """Share of the values that are sent."""
    momentum: Annotated[float, check_probability] = 0.9
    """Of the changes at a client; it raises what is sent of them up to 1 / (1 - momentum) times."""
    clip: Annotated[float, checks.real(0)] = 0.0
    """Largest L2 norm of a change; 0: any."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drive(CompressorConfig):
    """The signs of the rotated vector, and a scale: DRIVE."""

    # Unbiased unless set.
    _residual: ClassVar[str] = "none"

    name: str = "drive"
    unbiased: bool = True
    """Whether the mean over rotations is the change itself; false: the least error, which goes with
    ``error_feedback``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eden(CompressorConfig):
    """The values of the rotated vector, rounded as is best for normal ones: EDEN."""

    # Unbiased unless set; and residuals would grow below 0.79 bits.
    _residual: ClassVar[str] = "none"

    name: str = "eden"
    bits: Annotated[float, checks.real(0.1, 4)] = 1.0
    """Of a value: 2, 3 or 4, or a number from 0.1 to 1, which is the share of the values sent."""
    unbiased: bool = True
    """Whether the mean over rotations is the change itself; false: the least error, which goes with
    ``error_feedback``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FedZip(CompressorConfig):
    """The largest values, rounded to K centers and entropy-coded: FedZip."""

    # As published.
    _residual: ClassVar[str] = "none"

    name: str = "fedzip"
    keep: Annotated[float, checks.real(0, 1, above=True)] = 0.2
    """Share of the values that stay; the others become 0."""
    num_clusters: Annotated[int, checks.whole(1, 65536)] = 3
    """Centers K, of all values, zeros included."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mucsc(CompressorConfig):
    """K centers that values are rounded to at random, and so unbiased: MUCSC, B-MUCSC."""

    # Unbiased; and residuals would grow with few centers.
    _residual: ClassVar[str] = "none"

    name: str = "mucsc"
    num_clusters: Annotated[int, checks.whole(2, 64)] = 4
    """Centers K, from the least value to the greatest."""
    coding: Literal["fixed", "entropy", "adaptive"] = "fixed"
    """How codes are written: fixed (ceil(log2 K) bits each); entropy (by their frequencies);
    adaptive (frequencies learnt on the way)."""
    insignificant: Annotated[float, check_probability] = 0.0
    """Share of the values, the smallest, that go to one center of their own (B-MUCSC; biased)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Powersgd(CompressorConfig):
    """Each kernel's change as a matrix of low rank, in two factors; with ``groups`` layers."""

    name: str = "powersgd"
    rank: Annotated[int, checks.whole(1, 64)] = 2
    """Columns r of the factors; kernels that these would not make smaller go as floats."""
    warm_start: bool = True
    """Whether the power iteration goes on from the last change, of which a sender keeps a factor;
    false: from random numbers each time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qsgd(CompressorConfig):
    """Levels of a bucket's norm, rounded at random and so unbiased: QSGD, FedPAQ."""

    # Unbiased; and at few bits residuals grow without end.
    _residual: ClassVar[str] = "none"

    name: str = "qsgd"
    bits: Annotated[int, checks.whole(2, 8)] = 4
    """Of a value at fixed width: s = 2^(bits - 1) - 1 levels of each sign, and 0."""
    bucket: Annotated[int, checks.whole(1)] = 128
    """Consecutive values that share a norm, of 4 bytes."""
    coding: Literal["fixed", "entropy", "adaptive"] = "fixed"
    """How levels are written: fixed (``bits`` each); entropy (by their frequencies); adaptive
    (frequencies learnt on the way)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sign(CompressorConfig):
    """The sign of every value, and the mean magnitude: signSGD."""

    name: str = "sign"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stc(CompressorConfig):
    """The signs of the largest values, and their mean magnitude: sparse ternary compression."""

    name: str = "stc"
    fraction: Annotated[float, checks.real(0, 1, above=True)] = 0.01
    """Share of the values that are sent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK(CompressorConfig):
    """The largest values alone, with their positions."""

    name: str = "topk"
    fraction: Annotated[float, checks.real(0, 1, above=True)] = 0.01
    """Share of the values that are sent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpConfig(CompressorConfig):
    """How the clients' changes are compressed."""

    section: ClassVar[str] = "algorithm.up."
    default: ClassVar[str] = "none"

    @classmethod
    def basis(cls) -> type[Choice]:
        """A compressor of one's own, too, is given what it left out."""
        return _Fed


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fed(UpConfig):
    beside: ClassVar[frozenset[str]] = frozenset({"error_feedback"})

    error_feedback: _Forms = "float32"
    """How a client keeps what was left out of a change, to add it to the next one: in 4, 2 or 1
    bytes a value; none: it is dropped."""

    def build(self, **inputs: Any) -> Any:
        """The compressor with its error feedback."""
        from fedcode_jax import compress

        compressor = super().build(**inputs)
        if self.error_feedback == "none":
            return compressor
        if compressor.has_memory:
            raise ConfigError(
                f"{self.section}error_feedback: {self.error_feedback} cannot be used with "
                f"{self.name}, which has a memory of its own and would count twice what it leaves "
                "out; set none"
            )
        return compress.error_feedback(compressor, self.error_feedback)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownConfig(CompressorConfig):
    """How the server's changes are compressed; what is left out goes with the next ones."""

    section: ClassVar[str] = "algorithm.down."
    default: ClassVar[str] = "none"

    @classmethod
    def other_member(cls, name: str) -> type[Choice]:
        """As of ``Choice``; some compressors go up only."""
        if name in CompressorConfig.members:
            raise ConfigError(
                f"{cls.section}name: {name} goes up only: it has a memory of its own, and what the "
                "server's weights are ahead of its clients, which goes with the next broadcast in "
                f"any case, would count twice. Known: {', '.join(sorted(cls.members))}"
            )
        return super().other_member(name)


def _directed(direction: type[CompressorConfig], member: type[CompressorConfig]) -> None:
    """Makes a compressor's settings those of a direction, found there by the same name."""
    way = direction.section.split(".")[1].capitalize()
    annotations: dict[str, Any] = {"name": str}
    body = {
        "__doc__": member.__doc__,
        "__module__": __name__,
        "__annotations__": annotations,
        "name": member.names[0],
    }
    if direction is _Fed:
        annotations["error_feedback"] = _Forms
        body["error_feedback"] = member._residual
    made = type(f"{way}{member.__name__}", (direction, member), body)
    dataclasses.dataclass(frozen=True, kw_only=True)(made)


for _member in tuple(CompressorConfig.members.values()):
    _directed(_Fed if _member._residual else UpConfig, _member)
    if not _member._has_memory:
        _directed(DownConfig, _member)

NOTHING_UP: UpConfig = UpConfig.members["none"]()
NOTHING_DOWN: DownConfig = DownConfig.members["none"]()
