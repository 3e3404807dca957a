"""What a run's privacy came to: epsilon, of the rounds that were done."""

import collections
import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedcode_jax import aggregation, algorithms
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.config import ExperimentConfig, PrivacyConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation.opening import most_visits


def rule_of(privacy: PrivacyConfig) -> aggregation.Aggregation:
    """The rule by which the server adds up what private clients send.

    With distributed noise it does not clip: what arrives is private already, and long by its noise.
    """
    if privacy.clip is None or privacy.noise == "distributed":
        return aggregation.gaussian()
    return aggregation.gaussian(privacy.clip, privacy.noise_multiplier)


def made_private(algorithm: Algorithm, privacy: PrivacyConfig, cohort: int) -> Algorithm:
    """The algorithm with what its clients do for privacy; itself where there is none.

    Args:
      algorithm: with the rule of ``rule_of``.
      privacy: the settings.
      cohort: M, clients in a round.

    Returns:
      The algorithm.

    Raises:
      ConfigError: the accountant is not installed.
    """
    if privacy.clip is None:
        return algorithm
    _library()
    noise = privacy.noise_multiplier * privacy.clip / math.sqrt(cohort)
    return algorithms.private(
        algorithm, privacy.clip, noise if privacy.noise == "distributed" else 0.0
    )


def spent(
    config: ExperimentConfig, records: Sequence[Mapping[str, Any]], cohort: int, clients: int
) -> dict[str, Any] | None:
    """What was promised of each client's data, as ``summary.json`` holds it.

    Two runs are neighbours if they differ in the data of one client, which in one of them has none,
    so that its change is zero. Whoever sees the models of all rounds tells neighbours apart no
    better than (epsilon, delta) says; with distributed noise, whoever sees the messages of all
    rounds, such as the server, no better than ``epsilon_server`` does.

    Distributed noise adds up in the sum of float32 changes alone. Compressed messages are made of
    noisy changes, and so private one by one; but their sum is not made of the noisy sum, and the
    models have the guarantee of the messages.

    Args:
      config: the experiment.
      records: of the rounds done.
      cohort: M, clients in a round.
      clients: C, clients in all.

    Returns:
      ``noise``, ``clip``, ``noise_multiplier``, ``delta``, ``epsilon`` and ``epsilon_server``, None
      where there is no guarantee against the server; None without privacy.
    """
    privacy, rounds = config.privacy, len(records)
    if privacy.clip is None:
        return None
    z, delta = privacy.noise_multiplier, privacy.delta
    server = None
    if privacy.noise == "central":
        epsilon = epsilon_of([z] * rounds, delta, cohort, clients)
    else:
        visits = most_visits(config.seed, rounds, clients, cohort)
        server = epsilon = epsilon_of([z / math.sqrt(cohort)] * visits, delta)
        if sends_floats(config.algorithm):
            shares = [record["arrived"] / cohort for record in records if record["arrived"]]
            sums = [z * math.sqrt(share) for share in shares]
            epsilon = min(epsilon, epsilon_of(sums, delta, cohort, clients))
    return {
        "noise": privacy.noise,
        "clip": privacy.clip,
        "noise_multiplier": z,
        "delta": delta,
        "epsilon": epsilon,
        "epsilon_server": server,
    }


def sends_floats(algorithm: Any) -> bool:
    """Whether what the server adds up is what clients have, to the last bit of float32.

    Example:
      >>> from fedcode_jax.config import presets
      >>> sends_floats(presets.FedProx()), sends_floats(presets.FedPAQ())
      (True, False)
    """
    up = getattr(algorithm, "up", None)
    halves = any(short in algorithm.groups for short in ("dense16", "densebf16"))
    return up is not None and up.name == "none" and not halves


def epsilon_of(
    multipliers: Sequence[float], delta: float, cohort: int = 1, clients: int = 1
) -> float:
    """Epsilon of Gaussian mechanisms, each on a cohort drawn without replacement.

    The least of two bounds. One takes the cohorts for known: a composition of Gaussians, exact; it
    is that of multiplier 1 / sqrt(sum 1 / z^2). The other one counts on nobody knowing who was
    drawn (Renyi divergences): it holds for a client that is replaced by any other, which moves a
    sum by up to twice the clip, and so for one that is replaced by one of no data.

    Args:
      multipliers: z of each round, of clip and sum.
      delta: of the guarantee.
      cohort: M, drawn in each round.
      clients: C, of whom they are drawn.

    Returns:
      Epsilon; 0 of no mechanism.

    Source: Balle and Wang, arXiv 1805.06530, theorem 8; Wang, Balle and Kasiviswanathan, arXiv
    1808.00087, theorem 27; both as Google's dp-accounting computes them.

    Example:
      >>> round(epsilon_of([1.0], 1e-5), 4)
      4.3772
      >>> of_all, of_few = (epsilon_of([1.0] * 20, 1e-5, 5, clients) for clients in (5, 1000))
      >>> of_few < of_all / 5
      True
    """
    if not multipliers:
        return 0.0
    library = _library()
    together = 1 / math.sqrt(math.fsum(1 / z**2 for z in multipliers))
    epsilon = float(library.get_epsilon_gaussian(together, delta))
    if cohort == clients:
        return epsilon
    relation = library.NeighboringRelation.REPLACE_ONE
    accountant = library.rdp.RdpAccountant(neighboring_relation=relation)
    for z, rounds in collections.Counter(multipliers).items():
        drawn = library.SampledWithoutReplacementDpEvent(
            clients, cohort, library.GaussianDpEvent(z / 2)
        )
        accountant.compose(library.SelfComposedDpEvent(drawn, rounds))
    return min(epsilon, float(accountant.get_epsilon(delta)))


def _library() -> Any:
    try:
        return importlib.import_module("dp_accounting")
    except ModuleNotFoundError:
        raise ConfigError(
            "privacy.clip: the accountant needs the package dp-accounting, which is not installed: "
            "pip install 'fedcode_jax[privacy]'"
        ) from None
