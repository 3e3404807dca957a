"""How many steps follow each other when a cohort runs in chunks or slots, by count alone."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.places import places

_SAMPLES = 200
"""Cohorts that are drawn: fewer miss the rare clients that are very large."""


class Occupancy(NamedTuple):
    """What cohorts come to; of the busiest device, where several share them.

    Attributes:
      sequential: i64[S], steps that follow each other.
      exchanges: i64[S], times at which slots take the next clients.
    """

    sequential: np.ndarray
    exchanges: np.ndarray


def sampled_cohorts(
    sizes: Sequence[int], cohort: int, *, epochs: int, batch_size: int, seed: int = 0
) -> np.ndarray:
    """The steps of the clients of cohorts drawn at random, most steps first.

    Args:
      sizes: samples of every client.
      cohort: M, clients in a round.
      epochs: local epochs.
      batch_size: local batch size.
      seed: of the draws.

    Returns:
      i64[S, M]; fewer cohorts where they are large and differ little.

    Example:
      >>> sampled_cohorts([32, 96, 64], 3, epochs=1, batch_size=32).tolist()
      [[3, 2, 1]]
    """
    steps = np.asarray(num_steps(jnp.asarray(sizes), epochs, batch_size)).astype(np.int64)
    rng = np.random.default_rng(seed)
    samples = 1 if cohort == len(steps) else min(_SAMPLES, 20 + 20_000 // cohort)
    drawn = [rng.choice(steps, cohort, replace=False) for _ in range(samples)]
    return np.sort(drawn, axis=1)[:, ::-1]


def occupancy(
    cohorts: np.ndarray, chunk: int, layout: str = "sorted", devices: int = 1
) -> Occupancy:
    """What cohorts come to in a layout.

    Args:
      cohorts: i64[S, M], steps of clients, most first.
      chunk: clients side by side on a device.
      layout: ``sorted`` or ``packed``.
      devices: that share a cohort.

    Returns:
      Counts, as ``run_cohort`` makes them.

    Example:
      >>> cohort = np.array([[5, 3, 2, 2]])
      >>> occupancy(cohort, 2).sequential.tolist()
      [7]
      >>> packed = occupancy(cohort, 2, "packed")
      >>> packed.sequential.tolist(), packed.exchanges.tolist()
      ([7], [3])
    """
    packed = layout == "packed"
    where = places(cohorts.shape[1], 1 if packed else chunk, devices)
    steps = np.where(where < 0, 0, cohorts[:, where])  # [S, devices, chunks, clients of a chunk]
    if packed:
        return _in_slots(steps[..., 0], chunk)
    # A chunk takes as long as its first client, which has the most steps.
    sequential = steps[..., 0].sum(axis=2).max(axis=1)
    return Occupancy(sequential, np.zeros_like(sequential))


def _in_slots(steps: np.ndarray, slots: int) -> Occupancy:
    """Longest first, each to the slot that is free first: steps i64[S, devices, K]."""
    samples, devices, clients = steps.shape
    until = np.zeros((samples * devices, min(slots, clients)), np.int64)
    ends = steps.reshape(-1, clients).copy()
    every = np.arange(len(ends))
    for client in range(clients):
        slot = until.argmin(axis=1)
        ends[:, client] += until[every, slot] * (ends[:, client] > 0)
        until[every, slot] = np.maximum(until[every, slot], ends[:, client])
    ends.sort(axis=1)
    moments = np.sum((np.diff(ends, axis=1, prepend=0) > 0), axis=1)
    return Occupancy(
        until.max(axis=1).reshape(samples, devices).max(axis=1),
        moments.reshape(samples, devices).max(axis=1),
    )


def fewest_steps(cohorts: np.ndarray, width: int, devices: int = 1) -> np.ndarray:
    """Fewer steps cannot follow each other, whatever the layout, at this width.

    Args:
      cohorts: i64[S, M], steps of clients.
      width: clients side by side on a device.
      devices: that share a cohort.

    Returns:
      i64[S], the steps of the largest client, or of all by the places there are, if that is more.

    Example:
      >>> fewest_steps(np.array([[5, 3, 2, 2], [9, 1, 1, 1]]), 2).tolist()
      [6, 9]
    """
    spread = -(-cohorts.sum(axis=1) // (width * devices))
    return np.maximum(cohorts.max(axis=1), spread)


def waste(cohorts: np.ndarray, chunk: int, layout: str = "sorted", devices: int = 1) -> float:
    """Executed over needed client-steps, minus one, of all cohorts together.

    Args:
      cohorts: i64[S, M], steps of clients, most first.
      chunk: clients side by side on a device.
      layout: ``sorted`` or ``packed``.
      devices: that share a cohort; all wait for the busiest.

    Returns:
      The share, as ``run_cohort`` counts it.
    """
    most = -(-cohorts.shape[1] // devices) if layout == "packed" else cohorts.shape[1]
    executed = occupancy(cohorts, chunk, layout, devices).sequential.sum()
    return float(executed * devices * min(chunk, most) / max(cohorts.sum(), 1) - 1)


def expected_waste(
    sizes: Sequence[int],
    cohort: int,
    chunk: int,
    *,
    epochs: int,
    batch_size: int,
    layout: str = "sorted",
    devices: int = 1,
    seed: int = 0,
) -> float:
    """Padding waste that chunks of this size, or as many slots, would have on sampled cohorts.

    Args:
      sizes: samples of every client.
      cohort: M, clients in a round.
      chunk: clients side by side on a device.
      epochs: local epochs.
      batch_size: local batch size.
      layout: ``sorted`` or ``packed``.
      devices: that share the clients of a round; all wait for the busiest.
      seed: of the cohorts that are sampled.

    Returns:
      Executed over needed client-steps, minus one, as ``run_cohort`` counts them.

    Example:
      >>> expected_waste([32, 32, 64, 64], 4, 2, epochs=1, batch_size=32)
      0.0
      >>> round(expected_waste([32, 32, 64, 64], 4, 4, epochs=1, batch_size=32), 3)
      0.333
    """
    drawn = sampled_cohorts(sizes, cohort, epochs=epochs, batch_size=batch_size, seed=seed)
    return waste(drawn, chunk, layout, devices)
