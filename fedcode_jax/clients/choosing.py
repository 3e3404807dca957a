"""Which execution plan a cohort gets: by its price on a GPU or TPU, by its waste on a CPU."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.clients.occupancy import fewest_steps, occupancy, sampled_cohorts, waste
from fedcode_jax.clients.plan import LAYOUTS, Plan
from fedcode_jax.clients.prices import TYPICAL, StepPrice
from fedcode_jax.targets import CPU

MAX_WASTE = 0.05
"""Padding waste, in executed over needed client-steps minus one, that a plan for a CPU accepts.

An estimate for all rounds together, from sampled cohorts; single rounds may waste more.
"""
_WIDEST = 64
"""Clients side by side: by then what is launched once for all hardly counts."""
_FINER = 0.85
"""Of a chunk's size, the next smaller one that is tried."""
_IN_DOUBT = 1.05
"""Slots hold the weights of all clients of a device, so that they are to be cheaper by this."""
_ALIKE = 1.1
"""Prices of sizes that differ by less are held to be equal: that with the fewest steps is chosen,
since kernels of few clients do not fill a machine, and prices do not say so."""
_APART = 1.5
"""By which chunks that are tried in a trial of plans differ at least."""


def plan_choices(
    target: str,
    *,
    weights: Any,
    sizes: Sequence[int],
    cohort: int,
    epochs: int,
    batch_size: int,
    chunk: int | None = None,
    client_axis: str | None = None,
    conv: str | None = None,
    layout: str | None = None,
    precision: str = "float32",
    devices: int = 1,
    fits: Callable[[str, str], int] | None = None,
    price: Callable[[str], StepPrice] | None = None,
    may_pack: bool = True,
) -> Iterator[Plan]:
    """The plans that fit the settings, the one that the rules choose first.

    On CPU the clients of a core run one after another, with native convolutions, which was the
    fastest for CNNs and ResNet-20, and for an MLP as fast as any number of clients side by side
    (``execution.plan probe`` times all plans and says so). If they are to run side by side, a
    chunk is the largest whose expected padding waste is at most ``MAX_WASTE``.

    Elsewhere they run side by side, with native convolutions: ten clients of ResNet-20 take a
    quarter of the memory of patches, by the compilers' accounts; none has been timed on a GPU or
    TPU yet. A step there launches as much for one client as for many. So a
    round is priced: of c clients side by side, every step that follows another costs
    ``launch + c * client``, and every moment at which slots take the next clients an
    ``exchange``. Of some sizes of chunk that have room, sorted and packed, the cheapest over
    sampled cohorts is chosen, or of those that cost about as little, that with the fewest steps.

    Args:
      target: the kind of machine: cpu, gpu or tpu.
      weights: the variables of the model; without a kernel of four axes it has no convolution,
        and there is nothing to lower.
      sizes: samples of every client.
      cohort: M, clients in a round.
      epochs: local epochs.
      batch_size: local batch size.
      chunk: as set, or None to choose.
      client_axis: as set, or None to choose; a chunk above 1, and packed slots, imply vmap.
      conv: as set, or None to choose.
      layout: as set, or None to choose.
      precision: as set.
      devices: that share the clients of a round.
      fits: by lowering and layout, how many clients side by side have room on a device; None for
        any.
      price: by lowering, what a step takes on a GPU or TPU; None for that of a typical model.
      may_pack: whether slots are chosen without being asked for. Not where several experiments
        share a loop: their slots would wait for those of each other.

    Yields:
      At least one plan; after the first, others that a trial may find to be faster, of several
      sizes where clients run side by side.

    Raises:
      ConfigError: settings that contradict each other.

    Example:
      >>> work = {"sizes": [9, 9], "cohort": 2, "epochs": 1, "batch_size": 3}
      >>> print(next(plan_choices("cpu", weights={"kernel": np.zeros((3, 3, 1, 8))}, **work)))
      map (clients one after another), native convolutions, float32 (rule for cpu)
    """
    if client_axis is None and ((chunk or 1) > 1 or layout == "packed"):
        client_axis = "vmap"
    convolutional = any(jnp.ndim(leaf) == 4 for leaf in jax.tree.leaves(weights))
    free = (chunk, client_axis, conv, layout) == (None,) * 4
    reason = f"rule for {target}" if free else "as set"
    cohorts = sampled_cohorts(sizes, cohort, epochs=epochs, batch_size=batch_size)
    layouts = LAYOUTS if layout is None else (layout,)
    if target == CPU or not may_pack:
        layouts = layouts[:1]
    for axis, lowering in _ways(target, client_axis, conv, convolutional):
        make = functools.partial(
            Plan, axis, conv=lowering, precision=precision, devices=devices, target=target
        )
        if axis == "map":
            yield make(chunk=chunk or 1, reason=reason, layout=layout or "sorted")
            continue
        room = {kind: min(cohort, _WIDEST) for kind in layouts}
        if fits is not None:
            room = {kind: max(min(fits(lowering, kind), _WIDEST), 1) for kind in layouts}
        if target == CPU:
            kind = layouts[0]
            largest = chunk or _largest_chunk(cohorts, room[kind], kind, devices)
            yield make(chunk=largest, reason=reason, layout=kind)
            if chunk is None and largest > 3:
                yield make(chunk=largest // 2, reason=reason, layout=kind)
            continue
        cost = TYPICAL if price is None else price(lowering)
        for kind, size in _by_price(cohorts, room, cost, devices, chunk):
            why = _explained(cohorts, size, kind, devices)
            yield make(chunk=size, reason=f"{reason}: {why}", layout=kind)


def _ways(
    target: str, client_axis: str | None, conv: str | None, convolutional: bool
) -> Iterator[tuple[str, str]]:
    """Axes and lowerings that fit the settings, that of the rule first."""
    axis = "map" if target == CPU else "vmap"
    # A setting decides one of them and leaves the rule for the other.
    first = client_axis or axis, conv or "native"
    others = [("map", "native"), ("map", "patches"), ("vmap", "patches"), ("vmap", "native")]
    for way in [first, *(other for other in others if other != first)]:
        if client_axis not in (None, way[0]) or conv not in (None, way[1]):
            continue
        if convolutional or conv is not None or way[1] == "native":
            yield way


def _largest_chunk(cohorts: np.ndarray, room: int, layout: str, devices: int) -> int:
    """The largest chunk of at most ``room`` clients that does not waste too much."""
    # What the devices waste in any case, by waiting for each other, no chunk can avoid.
    accepted = max(MAX_WASTE, waste(cohorts, 1, layout, devices))
    for chunk in range(min(room, -(-cohorts.shape[1] // devices)), 1, -1):
        if waste(cohorts, chunk, layout, devices) <= accepted:
            return chunk
    return 1


def _by_price(
    cohorts: np.ndarray, room: dict[str, int], cost: StepPrice, devices: int, chunk: int | None
) -> Iterator[tuple[str, int]]:
    """Layouts and sizes of chunks, the best first, then two that differ from those before."""
    own = -(-cohorts.shape[1] // devices)
    candidates = [
        (kind, size)
        for kind, most in room.items()
        for size in ([chunk] if chunk else _sizes(own, most))
    ]
    price = {one: price_of(cohorts, one[1], one[0], devices, cost) for one in candidates}
    cheapest = min(price.values())

    def rank(one: tuple[str, int]) -> tuple[float, float]:
        better = any(size == one[1] and price[kind, size] < price[one] for kind, size in candidates)
        if better or price[one] > _ALIKE * cheapest:
            return np.inf, price[one]
        return occupancy(cohorts, one[1], one[0], devices).sequential.mean(), price[one]

    chosen: list[tuple[str, int]] = []
    for kind, size in sorted(candidates, key=rank):
        near = [other for layout, other in chosen if layout == kind]
        if len(chosen) < 3 and all(max(size / n, n / size) >= _APART for n in near):
            chosen.append((kind, size))
            yield kind, size


def _sizes(clients: int, room: int) -> list[int]:
    """Sizes of chunks to be tried: that all have room, or that cut the clients evenly."""
    most = min(clients, room)
    even = {-(-clients // chunks) for chunks in range(1, clients + 1)}
    sizes = [most]
    for size in sorted(even, reverse=True):
        if size <= max(_FINER * sizes[-1], 1) and size < sizes[-1]:
            sizes.append(size)
    return sizes


def price_of(cohorts: np.ndarray, chunk: int, layout: str, devices: int, cost: StepPrice) -> float:
    """What the local training of a round costs, on average over cohorts.

    Args:
      cohorts: i64[S, M], steps of clients, most first.
      chunk: clients side by side on a device.
      layout: ``sorted`` or ``packed``.
      devices: that share a cohort.
      cost: of a step.

    Returns:
      In the unit of ``cost``.

    Example:
      >>> cohort, cost = np.array([[5, 3, 2, 2]]), StepPrice(launch=10.0, client=1.0, exchange=1.0)
      >>> price_of(cohort, 2, "sorted", 1, cost), price_of(cohort, 4, "sorted", 1, cost)
      (84.0, 70.0)
    """
    found = occupancy(cohorts, chunk, layout, devices)
    width = min(chunk, cohorts.shape[1])
    steps = found.sequential.mean() * (cost.launch + width * cost.client)
    if layout == "sorted":
        return float(steps)
    return float(_IN_DOUBT * (steps + found.exchanges.mean() * cost.exchange))


def _explained(cohorts: np.ndarray, chunk: int, layout: str, devices: int) -> str:
    steps = occupancy(cohorts, chunk, layout, devices).sequential.mean()
    fewest = fewest_steps(cohorts, min(chunk, cohorts.shape[1]), devices).mean()
    return f"about {steps:.0f} steps follow each other, {fewest:.0f} at least"
