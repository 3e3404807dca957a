"""Federated algorithms, as pure functions: FedCode, FedAvg and the controls."""

from collections.abc import Callable

from fedcode_jax.algorithms.base import (
    Algorithm,
    At,
    Objective,
    Start,
    Work,
    mean_of_clients,
    one,
    weighted_mean,
)
from fedcode_jax.algorithms.checking import check_contract
from fedcode_jax.algorithms.controls import skip, weight_clustering
from fedcode_jax.algorithms.fedavg import fedavg, fedavg_every, local_only
from fedcode_jax.algorithms.fedbat import fedbat
from fedcode_jax.algorithms.fedbif import fedbif
from fedcode_jax.algorithms.fedcode import fedcode
from fedcode_jax.algorithms.fedcompress import fedcompress
from fedcode_jax.algorithms.feddyn import feddyn
from fedcode_jax.algorithms.fedpm import fedpm
from fedcode_jax.algorithms.fedpm_mrc import fedpm_mrc
from fedcode_jax.algorithms.groups import parse
from fedcode_jax.algorithms.layout import Layout
from fedcode_jax.algorithms.lbgm import lbgm
from fedcode_jax.algorithms.portable import Portable
from fedcode_jax.algorithms.private import private
from fedcode_jax.algorithms.scaffold import scaffold
from fedcode_jax.algorithms.updates import updates

registry: dict[str, Callable[..., Algorithm]] = {
    "fedavg": fedavg,
    "fedavg_every": fedavg_every,
    "fedbat": fedbat,
    "fedbif": fedbif,
    "fedcode": fedcode,
    "fedcompress": fedcompress,
    "feddyn": feddyn,
    "fedpm": fedpm,
    "fedpm_mrc": fedpm_mrc,
    "lbgm": lbgm,
    "local_only": local_only,
    "scaffold": scaffold,
    "skip": skip,
    "weight_clustering": weight_clustering,
}
"""The algorithms that ``algorithm.name`` can choose."""

__all__ = [
    "Algorithm",
    "At",
    "Layout",
    "Objective",
    "Portable",
    "Start",
    "Work",
    "check_contract",
    "fedavg",
    "fedavg_every",
    "fedbat",
    "fedbif",
    "fedcode",
    "fedcompress",
    "feddyn",
    "fedpm",
    "fedpm_mrc",
    "lbgm",
    "local_only",
    "mean_of_clients",
    "one",
    "parse",
    "private",
    "registry",
    "scaffold",
    "skip",
    "updates",
    "weight_clustering",
    "weighted_mean",
]
