"""What is learnt from what: the sections of data, partition, model and local training."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.checks import registered
from fedcode_jax.config.section import Section


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
    decay: Literal["none", "cosine", "step"] = "none"
    """How the learning rate falls over the rounds: none; cosine, to nothing; step, to a tenth after
    half of the rounds and to a hundredth after three quarters."""
    augment: Annotated[str, _check_augment] = "none"
    """Augmentation of the training samples: none, crop_flip (images), time_shift or spec_augment
    (sound), or several joined by +, such as time_shift+spec_augment."""
    fix_norm_after: Annotated[int | None, checks.whole(1)] = None
    """Last round in which batch norm takes its statistics from the batches; in later ones it
    trains with the running averages as they then are (FixBN). None: never fixed."""
    optimizer_args: Annotated[dict[str, float], checks.named_values] = dataclasses.field(
        default_factory=dict, hash=False
    )
    """Further arguments of the optimiser, e.g. momentum=0.9 for sgd."""

    def check_together(self) -> None:
        """Checks that optax has the optimiser, and the optimiser the arguments."""
        if self.optimizer == "adam" and not self.optimizer_args:
            return
        from fedcode_jax.clients.optimizers import optimizer

        optimizer(self.optimizer, self.learning_rate, arguments=self.optimizer_args)
