"""Links and devices: from the bytes and samples of a round to simulated seconds."""

from fedcode_jax.network.links import Conditions, Links, check_links, conditions
from fedcode_jax.network.own import OwnLinks, as_network
from fedcode_jax.network.presets import Network, Preset, presets
from fedcode_jax.network.seconds import Timing, arrives, deliverable, received, timing
from fedcode_jax.network.table import COLUMNS, read_table

__all__ = [
    "COLUMNS",
    "Conditions",
    "Links",
    "Network",
    "OwnLinks",
    "Preset",
    "Timing",
    "arrives",
    "as_network",
    "check_links",
    "conditions",
    "deliverable",
    "presets",
    "read_table",
    "received",
    "timing",
]
