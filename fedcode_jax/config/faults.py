"""The settings of faults: what goes wrong with clients, uploads and the server, and how often."""

import dataclasses
from typing import Annotated, ClassVar

from fedcode_jax.config import checks
from fedcode_jax.config.section import Section
from fedcode_jax.limits import check_probability


@dataclasses.dataclass(frozen=True)
class FaultsConfig(Section):
    """What goes wrong besides the network's dropout and loss; by default nothing.

    Example:
      >>> FaultsConfig().on, FaultsConfig(vanish=0.1).on, FaultsConfig(screen=True).on
      (False, True, True)
    """

    section: ClassVar[str] = "faults."

    vanish: Annotated[float, check_probability] = 0.0
    """Probability, in each round, that a client trains and then sends nothing."""
    late: Annotated[float, check_probability] = 0.0
    """Probability that an upload takes longer, by faults.late_seconds."""
    late_seconds: Annotated[float, checks.real(0, 1e30)] = 10.0
    """Seconds by which a late upload takes longer; with network.deadline it may miss the round."""
    corrupt: Annotated[float, check_probability] = 0.0
    """Probability that an upload is damaged on the way: its checksum tells, and it is rejected."""
    not_finite: Annotated[float, check_probability] = 0.0
    """Probability that a client's trained weights become NaN; such an upload is rejected."""
    hostile: Annotated[float, checks.real(0, 1)] = 0.0
    """Share of the clients, rounded to whole ones, chosen by the seed for the whole run, that scale
    what they trained by faults.scale before they upload it."""
    scale: Annotated[float, checks.real(-1e30, 1e30)] = 100.0
    """What hostile clients multiply their trained weights by."""
    restart: Annotated[float, check_probability] = 0.0
    """Probability, in each round, that the server restarts: no upload of the round counts, its
    state is that of before the round, and it no longer knows what any client holds."""
    screen: bool = False
    """Reject uploads that are not finite also where nothing above is set; where something is, they
    are rejected in any case."""

    @property
    def on(self) -> bool:
        """Whether faults are drawn and looked for."""
        chances = (self.vanish, self.late, self.corrupt, self.not_finite, self.restart)
        return self.screen or any(chances) or self.hostile > 0
