"""The settings of the models."""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.choice import Choice, parameters, taken

Norm = Literal["batch", "group", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Choice):
    """The model that is trained."""

    section: ClassVar[str] = "model."
    default: ClassVar[str] = "cnn"
    room: ClassVar[str] = "fedcode_jax.models:registry"
    inputs: ClassVar[frozenset[str]] = frozenset({"num_classes", "input_shape", "lowering", "rngs"})

    name: Annotated[str, checks.text] = ""
    """Architecture: mlp; cnn, cnn_fedavg (McMahan et al.), cnn_pfl (pfl-research's benchmark) or
    lenet5; resnet8, resnet14, resnet20, resnet32, resnet56, wrn_16_4 or mobilenet_v2, for images;
    yamnet, for log-mel features; or module:factory, a model of your own."""

    def build(self, **inputs: Any) -> Any:
        """The model, or where the factory draws weights (``rngs``) what does so when called."""
        factory = self.factory()
        if "rngs" in parameters(factory):
            return functools.partial(factory, **self.arguments(), **taken(factory, inputs))
        return super().build(**inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mlp(ModelConfig):
    """Flatten, then dense layers."""

    name: str = "mlp"
    hidden: Annotated[tuple[int, ...], checks.sizes] = (64,)
    """Widths of the hidden layers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cnn(ModelConfig):
    """A small CNN: 3 x 3 convolutions, each with a max-pool, then dense."""

    name: str = "cnn"
    norm: Norm = "none"
    """Normalisation layers: batch, group or none."""
    widths: Annotated[tuple[int, ...], checks.sizes] = (16, 32)
    """Channels of the convolutions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CnnFedAvg(ModelConfig):
    """The CNN with which McMahan et al. trained MNIST."""

    name: str = "cnn_fedavg"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CnnPfl(ModelConfig):
    """The CNN of pfl-research's CIFAR-10 benchmark."""

    name: str = "cnn_pfl"
    dropout: bool = True
    """Whether it has its dropout layers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeNet5(ModelConfig):
    """LeNet-5 as it is used today, with relu and maxima."""

    name: str = "lenet5"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Normed(ModelConfig):
    norm: Norm = "batch"
    """Normalisation layers: batch, group or none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Blocks(_Normed):
    remat: bool = False
    """Whether the values inside a block are made again for its gradient, not kept: less memory, so
    that more clients train side by side, for a third more work."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet(_Blocks):
    """A ResNet of the CIFAR experiments, with parameter-free shortcuts."""

    name: str = "resnet20"
    names: ClassVar[tuple[str, ...]] = ("resnet8", "resnet14", "resnet20", "resnet32", "resnet56")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WideResNet(_Blocks):
    """The wide residual network of 16 layers and four times the channels."""

    name: str = "wrn_16_4"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scaled(ModelConfig):
    width: Annotated[float, checks.real(0, above=True)] = 1.0
    """Factor of all channels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV2(_Scaled, _Blocks):
    """MobileNetV2 with the strides for CIFAR."""

    name: str = "mobilenet_v2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class YamNet(_Scaled, _Normed):
    """YAMNet, for log-mel features."""

    name: str = "yamnet"
