"""The settings of local training: what a client does between receiving and sending."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.choice import parameters
from fedcode_jax.config.section import Section
from fedcode_jax.errors import ConfigError
from fedcode_jax.names import imported, is_given, is_own


def _check_augment(setting: str, value: Any) -> str:
    value = checks.text(setting, value)
    if not (is_given(value) or is_own(value)):
        from fedcode_jax.data import augment

        augment.parse(value)
    return value


@dataclasses.dataclass(frozen=True)
class LocalConfig(Section):
    """What a client does between receiving and sending."""

    section: ClassVar[str] = "local."

    optimizer: Annotated[str, checks.text] = "adam"
    """Any optimiser of optax, e.g. adam, sgd or adamw, and of optax.contrib, e.g. contrib.muon; or
    module:factory, one of your own."""
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
    (sound), or several joined by +, such as time_shift+spec_augment; or module:function, one of
    your own."""
    fix_norm_after: Annotated[int | None, checks.whole(1)] = None
    """Last round in which batch norm takes its statistics from the batches; in later ones it
    trains with the running averages as they then are (FixBN). None: never fixed."""
    repeat_draws: bool = False
    """Whether every client has, in every round and whatever the seed, the same draws of batches and
    augmentation, as in the program that FedCode's authors published."""
    optimizer_args: Annotated[dict[str, Any], checks.named_values] = dataclasses.field(
        default_factory=dict, hash=False
    )
    """Further arguments of the optimiser, e.g. momentum=0.9 for sgd."""
    loss: Annotated[str, checks.text] = "cross_entropy"
    """What training makes small: cross_entropy; or module:function, a loss of your own."""
    loss_args: Annotated[dict[str, Any], checks.named_values] = dataclasses.field(
        default_factory=dict, hash=False
    )
    """Further arguments of a loss of your own, by keyword."""

    def check_together(self) -> None:
        """Checks that there are such an optimiser and loss, and that they take the arguments."""
        if (self.loss != "cross_entropy" or self.loss_args) and not is_given(self.loss):
            from fedcode_jax.clients.named import loss_of

            loss_of(self.loss, self.loss_args)
        if (self.optimizer == "adam" and not self.optimizer_args) or is_given(self.optimizer):
            return
        from fedcode_jax.clients.optimizers import optimizer

        optimizer(self.optimizer, self.learning_rate, arguments=self.optimizer_args)
        if not is_own(self.optimizer):
            return
        rated = "learning_rate" in parameters(imported("local.optimizer", self.optimizer))
        if not rated and (self.learning_rate, self.decay) != (type(self).learning_rate, "none"):
            raise ConfigError(
                f"local.learning_rate: {self.learning_rate} (decay {self.decay}) has no use with "
                f"{self.optimizer}, which does not take learning_rate"
            )
