"""The settings of the data sets."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice
from fedcode_jax.names import is_own


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Choice):
    """The data set."""

    section: ClassVar[str] = "data."
    default: ClassVar[str] = "digits"
    inputs: ClassVar[frozenset[str]] = frozenset({"seed"})
    beside: ClassVar[frozenset[str]] = frozenset({"features", "train_part", "test_part"})

    name: Annotated[str, checks.text] = ""
    """Data set: digits (scikit-learn's, no download), npz, synthetic, or the name of an
    image-classification set of tensorflow-datasets or speech_commands (see fedcode data list); or
    module:factory, data of your own."""
    features: Literal["raw", "log_mel"] | None = None
    """What the model sees of a sample: raw, or log_mel, the log-mel spectrogram of a waveform of
    16,000 samples a second; None: log_mel for speech_commands, else raw."""
    train_part: Annotated[int | None, checks.whole(1)] = None
    """Train samples to take, drawn evenly at random, the same for every seed; None: all."""
    test_part: Annotated[int | None, checks.whole(1)] = None
    """Test samples to take, drawn likewise; None: all."""

    @classmethod
    def other_member(cls, name: str) -> type[Choice]:
        """Any other name may be that of a set of tensorflow-datasets."""
        return cls.others[0]

    def factory(self) -> Callable[..., Any]:
        """What loads the data set."""
        from fedcode_jax.data import sources

        return sources.find(self.name, getattr(self, "dir", None))

    def build(self, **inputs: Any) -> Any:
        """Loads the data set."""
        from fedcode_jax import data
        from fedcode_jax.data import audio, sources

        built = super().build(**inputs)
        if is_own(self.name):
            built = data.as_dataset(built, self.name)
        built = data.part_of(built, self.train_part, self.test_part)
        features = self.features or sources.FEATURES.get(self.name, "raw")
        return audio.with_features(built, features)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits(DataConfig):
    """scikit-learn's handwritten digits: real data, no download."""

    name: str = "digits"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Npz(DataConfig):
    """Your own arrays, in one .npz file or several."""

    name: str = "npz"
    path: Annotated[tuple[str, ...] | None, checks.paths] = None
    """File or files to read."""
    num_classes: Annotated[int | None, checks.whole(1)] = None
    """Number of classes; None: one more than the largest label."""
    layout: Literal["channels_last", "channels_first"] | None = None
    """Where the channels of images stand: [N, height, width, channels] or [N, channels, height,
    width]; None: last, and what looks like the other is refused."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic(DataConfig):
    """Gaussian classes of any shape."""

    name: str = "synthetic"
    num_classes: Annotated[int, checks.whole(1)] = 10
    """Number of classes."""
    shape: Annotated[tuple[int, ...], checks.sizes] = (8, 8, 1)
    """Shape of one sample."""
    train_size: Annotated[int, checks.whole(1)] = 2000
    """Number of training samples."""
    test_size: Annotated[int, checks.whole(1)] = 500
    """Number of test samples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared(DataConfig):
    """A set of tensorflow-datasets, or speech_commands, by its name."""

    dir: Annotated[str | None, checks.path] = None
    """Folder of prepared sets of tensorflow-datasets, or the extracted archive of speech_commands;
    None: tensorflow-datasets' own. What is not there is downloaded to it."""

    def check_together(self) -> None:
        """Checks that there is such a data set."""
        from fedcode_jax.data import sources

        sources.find(self.name, self.dir)


DataConfig.others = (Prepared,)
