"""What every choice would send, and how long that would take, without a data set or training."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax import config as configs
from fedcode_jax import network, randomness, schedules
from fedcode_jax.advice.choices import Choice, choices, yardstick
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError

_QUICKLY = {"xla_backend_optimization_level": 0}
"""Compiled in a fifth of the time, which is most of what this takes."""


class Expected(NamedTuple):
    """What a choice would come to.

    Attributes:
      choice: the choice.
      uplink: bytes that a client sends in a round, the mean over the rounds.
      downlink: bytes that it is sent in a round, likewise.
      seconds: of a round, the mean; of messages and of fitting codebooks, not of training.
      bytes: of a whole run, both ways, all clients.
    """

    choice: Choice
    uplink: float
    downlink: float
    seconds: float
    bytes: float


@randomness.standardised
def expected(config: ExperimentConfig, parameters: int) -> list[Expected]:
    """What FedAvg and every choice would send over the network of an experiment.

    Messages have the sizes of the published formulas, of n values in one group: 32 n bits of
    floats; n ceil(log2 K) + 32 K bits of codes with their codebook; 32 K bits of a codebook; none
    of ``skip`` between calibrations. What real messages have beside that, some tens of bytes, and
    what ``algorithm.coding`` saves of the codes, about half in frequent calibrations, is not in
    it. Nothing that depends on data is: no accuracy, and no time of training.

    Args:
      config: clients, clients a round, rounds, network and K count.
      parameters: n.

    Returns:
      FedAvg's, and those of the choices, the fewest bytes first.

    Raises:
      ConfigError: n is not above 0, or clients are the users of a data set.

    Example:
      >>> fedavg, best, *_ = expected(ExperimentConfig(rounds=20), 1000)
      >>> fedavg.bytes == 20 * 10 * 2 * 4 * 1000, best.bytes < fedavg.bytes / 20
      (True, True)
    """
    if isinstance(parameters, bool) or not isinstance(parameters, int) or parameters < 1:
        raise ConfigError(
            f"parameters: {parameters!r} cannot be used; give the number of values of the model, a "
            "whole number above 0"
        )
    clients = getattr(config.partition, "num_clients", None)
    if clients is None:
        raise ConfigError(
            f"partition.name: {config.partition.name} takes its clients from a data set; set "
            "another and partition.num_clients"
        )
    cohort = min(config.clients_per_round or clients, clients)
    tried = [each for each in (yardstick(config), *choices(config)) if each.settings]
    plans = [configs.replace(config, each.settings).schedule for each in tried]
    schedule = jax.tree.map(
        lambda *leaves: np.stack(leaves), *(plan.build(rounds=config.rounds) for plan in plans)
    )
    links = config.network.build(num_clients=clients, seed=config.seed).links(clients, config.seed)
    chosen = _cohorts(config, clients, cohort)
    met, exchanges = _course(config, links, chosen, schedule)
    present = ~np.asarray(met.away)
    newcomer = _newcomers(chosen, present, clients)
    bits = [
        _bits(choice, parameters, newcomer, *(np.asarray(flags[i])[:, None] for flags in exchanges))
        for i, choice in enumerate(tried)
    ]
    down, up = (np.stack(each) * present for each in zip(*bits, strict=True))
    fits = np.array([choice.algorithm == "fedcode" for choice in tried])
    seconds = np.asarray(_seconds(met, links.deadline, down, up, fits)).mean(axis=1)
    each = [total.sum(axis=(1, 2)) / 8 / max(present.sum(), 1) for total in (up, down)]
    totals = (down + up).sum(axis=(1, 2)) / 8
    found = [
        Expected(choice, *map(float, figures))
        for choice, *figures in zip(tried, *each, seconds, totals, strict=True)
    ]
    return [found[0], *sorted(found[1:], key=lambda one: (one.bytes, one.seconds))]


def _cohorts(config: ExperimentConfig, clients: int, cohort: int) -> np.ndarray:
    """Who is in each round: int32 ``[R, M]``."""
    rng = np.random.default_rng(config.seed)
    drawn = [np.sort(rng.permutation(clients)[:cohort]) for _ in range(config.rounds)]
    return np.stack(drawn).astype(np.int32)


def _course(
    config: ExperimentConfig, links: Any, chosen: np.ndarray, schedule: schedules.Schedule
) -> tuple[network.Conditions, schedules.Exchange]:
    """What clients meet with in every round ``[R, M]``, and what schedules decide ``[S, R]``."""

    @functools.partial(jax.jit, compiler_options=_QUICKLY)
    def course(links: Any, schedule: schedules.Schedule) -> Any:
        keys = jax.random.split(randomness.key(config.seed), config.rounds)
        met = jax.vmap(network.conditions, (None, 0, 0))(links, jnp.asarray(chosen), keys)
        memory, rounds = schedules.forgotten(), jnp.arange(1, config.rounds + 1)

        def decided(one: schedules.Schedule) -> schedules.Exchange:
            return jax.vmap(lambda t: one.decide(memory, schedules.Moment(t)))(rounds)

        return met, jax.lax.map(decided, schedule)

    return course(links, schedule)


@functools.partial(jax.jit, compiler_options=_QUICKLY)
def _seconds(met: Any, deadline: Any, down: Any, up: Any, fits: Any) -> jax.Array:
    """Seconds of each round ``[S, R]``, from bits ``[S, R, M]``; training takes none."""
    none = jnp.zeros(down.shape[2])
    rounds: Any = jax.vmap(network.timing, (0, None, 0, 0, None, None))
    return jax.lax.map(
        lambda one: rounds(met, deadline, *one[:2], none, one[2]).seconds, (down, up, fits)
    )


def _newcomers(chosen: np.ndarray, present: np.ndarray, clients: int) -> np.ndarray:
    """Whose first round each is: bool ``[R, M]``."""
    known, newcomer = np.zeros(clients, bool), np.zeros(chosen.shape, bool)
    for number, row in enumerate(chosen):
        newcomer[number] = present[number] & ~known[row]
        known[row] |= present[number]
    return newcomer


def _bits(
    choice: Choice, parameters: int, newcomer: np.ndarray, server: np.ndarray, clients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bits down and up of each client in each round, float32 ``[R, M]``."""
    everywhere = np.ones(newcomer.shape, np.float32)
    if choice.algorithm == "fedavg":
        whole = 32 * parameters * everywhere
        return whole, whole
    codebook = 32 * choice.num_clusters
    weights = parameters * max(1, (choice.num_clusters - 1).bit_length()) + codebook
    quiet = 0 if choice.algorithm == "skip" else codebook
    down = np.where(server | newcomer, weights, quiet)
    return down * everywhere, np.where(clients, weights, quiet) * everywhere
