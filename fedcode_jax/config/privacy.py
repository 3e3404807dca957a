"""The settings of client-level differential privacy, and what they go with."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from fedcode_jax.config import checks
from fedcode_jax.config.aggregation import MEAN
from fedcode_jax.config.section import Section
from fedcode_jax.errors import ConfigError
from fedcode_jax.names import is_given, is_own


@dataclasses.dataclass(frozen=True)
class PrivacyConfig(Section):
    """Client-level differential privacy: changes of bounded norm, and noise; off without a clip."""

    section: ClassVar[str] = "privacy."

    clip: Annotated[float | None, checks.real(0, above=True)] = None
    """Largest L2 norm of a client's change of all that it sends; None: no privacy."""
    noise_multiplier: Annotated[float, checks.real(1e-3, 1e6)] = 1.0
    """Standard deviation of the noise of the sum of a round's changes, over the clip."""
    noise: Literal["central", "distributed"] = "central"
    """Who adds the noise: a server that is trusted (central), or each client, before its change is
    compressed, the share that makes as much in the sum (distributed), of which a single message has
    little."""
    delta: Annotated[float, checks.real(0, 0.5, above=True)] = 1e-5
    """Delta of the guarantee, well below 1 over the number of clients."""

    def check_together(self) -> None:
        """Checks that nothing is set of a privacy that is off."""
        for name in ("noise_multiplier", "noise", "delta"):
            value = getattr(self, name)
            if self.clip is None and value != getattr(type(self), name):
                raise ConfigError(
                    f"privacy.{name}: {value!r} has no use without privacy.clip; set that, such as "
                    "to 1.0, or leave this out"
                )


_WHY = {
    "fedavg_every": "of which a client sends at once what several rounds made, each clipped alone",
    "scaffold": "whose clients send a second vector, their control variates, that no clip bounds",
    "feddyn": "whose server adds up changes of all rounds, beside the mean of one",
    "lbgm": "whose clients compare a change with one sent before",
    "fedcompress": "whose clients send their training loss too",
    "fedpm": "whose masks are drawn, not averaged changes that a clip bounds",
    "fedpm_mrc": "whose masks are drawn, not averaged changes that a clip bounds",
    "fedbat": "whose clients send what training learnt of binary changes",
    "fedbif": "whose clients send one bit of each weight",
    "local_only": "which sends nothing",
}
_UNKNOWN = "of which it is not known that a clip bounds what clients send"
_CODEBOOKS = "in whose codebook rounds codebooks are merged, which no noise of a sum hides"


def check_privacy(config: Any) -> None:
    """Checks that an experiment keeps what its privacy promises.

    Args:
      config: the experiment.

    Raises:
      ConfigError: it does not, and why.
    """
    privacy, algorithm = config.privacy, config.algorithm
    if privacy.clip is None:
        return
    if privacy.noise not in algorithm.noises:
        why = _CODEBOOKS if algorithm.noises else _WHY.get(algorithm.name, _UNKNOWN)
        raise ConfigError(
            f"privacy.noise: {privacy.noise!r} cannot be used with algorithm.name "
            f"{algorithm.name}, {why}; use fedavg, what is made of it, or weight_clustering"
            + (", or set it to distributed" if algorithm.noises else "")
        )
    if algorithm.aggregation != MEAN:
        raise ConfigError(
            f"algorithm.aggregation.name: {algorithm.aggregation.name!r} cannot be used with "
            "privacy.clip: the noise is that of a sum of clipped changes; leave it out"
        )
    name = config.schedule.name
    if config.schedule.adaptive or (
        not algorithm.own_schedule and (is_own(name) or is_given(name))
    ):
        raise ConfigError(
            f"schedule.name: {name!r} cannot be used with privacy.clip: what it looks at may tell "
            "of clients' data, without noise; use periodic"
        )
