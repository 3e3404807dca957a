"""The execution plan: how a cohort runs on this machine. It never changes the result."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.places import places
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.targets import TARGETS, here

PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}
"""Names of matmul precision, and what JAX calls them."""

LAYOUTS = ("sorted", "packed")
"""How clients are put in the places that there are side by side."""

MAX_WASTE = 0.05
"""Padding waste, in executed over needed client-steps minus one, that a plan accepts.

An estimate for all rounds together, from sampled cohorts; single rounds may waste more.
"""
_SAMPLES = 200
"""Cohorts that waste is estimated from: fewer miss the rare clients that are very large."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the clients of a round run.

    Attributes:
      client_axis: ``map``, one after another, or ``vmap``, side by side in chunks.
      chunk: clients side by side; 1 under ``map``.
      conv: how convolutions and pooling are lowered, ``native`` or ``patches``.
      precision: of local training: float32; tf32, float32 with products of 10-bit mantissas
        where the device has them; or bfloat16, with float32 master weights.
      devices: that share the clients of a round.
      reason: what chose it, for people.
      target: the kind of machine that it is for.
      layout: ``sorted``, chunks of clients of about as many steps, one after another; or
        ``packed``, as many slots as a chunk has clients, each of which takes the next client
        when it has finished one. Under ``map`` there is nothing to pack.
    """

    client_axis: str
    chunk: int
    conv: str
    precision: str = "float32"
    devices: int = 1
    reason: str = "as set"
    target: str = dataclasses.field(default_factory=here)
    layout: str = "sorted"

    def __post_init__(self) -> None:
        check_name("execution.client_axis", self.client_axis, ("vmap", "map"))
        check_name("execution.conv", self.conv, ("native", "patches"))
        check_name("execution.precision", self.precision, PRECISIONS)
        check_name("target", self.target, TARGETS)
        check_name("execution.layout", self.layout, LAYOUTS)
        for setting, value in (("chunk", self.chunk), ("devices", self.devices)):
            if value < 1:
                raise ConfigError(f"execution.{setting}: {value}; give a whole number >= 1")
        if self.client_axis == "map" and self.chunk != 1:
            raise ConfigError(
                f"execution.chunk: {self.chunk} clients side by side contradict "
                "execution.client_axis map, which runs one at a time; set one of them"
            )
        if self.client_axis == "map" and self.layout == "packed":
            raise ConfigError(
                "execution.layout: packed slots, which are side by side, contradict "
                "execution.client_axis map, which runs one at a time; set one of them"
            )

    @property
    def dtype(self) -> Any:
        """In which clients compute; weights that are updated are float32 in any case."""
        return jnp.bfloat16 if self.precision == "bfloat16" else jnp.float32

    @property
    def compiler_options(self) -> dict[str, str | bool] | None:
        """For ``Lowered.compile``: on CPU, devices are cores, and not to share their work."""
        if self.devices > 1 and self.target == "cpu":
            return {"xla_cpu_multi_thread_eigen": False}
        return None

    def width(self, clients: int) -> int:
        """Clients that are side by side on a device, of a round of so many."""
        own = -(-clients // self.devices) if self.layout == "packed" else clients
        return min(self.chunk, own)

    def places(self, clients: int) -> np.ndarray:
        """Which of the clients of a round, longest first, runs where: as of ``places``.

        Those of packed slots are in the order in which they wait for one.
        """
        return places(clients, 1 if self.layout == "packed" else self.chunk, self.devices)

    def __str__(self) -> str:
        how = "one after another" if self.client_axis == "map" else f"{self.chunk} side by side"
        how += ", packed" if self.layout == "packed" else ""
        where = f" on each of {self.devices} devices" if self.devices > 1 else ""
        return (
            f"{self.client_axis} (clients {how}{where}), {self.conv} convolutions, "
            f"{self.precision} ({self.reason})"
        )


def expected_waste(
    sizes: Sequence[int],
    cohort: int,
    chunk: int,
    *,
    epochs: int,
    batch_size: int,
    devices: int = 1,
    seed: int = 0,
) -> float:
    """Padding waste that chunks of this size would have, over sampled cohorts.

    Args:
      sizes: samples of every client.
      cohort: M, clients in a round.
      chunk: clients side by side.
      epochs: local epochs.
      batch_size: local batch size.
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
    drawn = _cohorts(sizes, cohort, epochs=epochs, batch_size=batch_size, seed=seed)
    return _waste(drawn, chunk, devices)


def _cohorts(
    sizes: Sequence[int], cohort: int, *, epochs: int, batch_size: int, seed: int = 0
) -> np.ndarray:
    """The steps of the clients of sampled cohorts, most steps first: i32[samples, cohort]."""
    steps = np.asarray(num_steps(jnp.asarray(sizes), epochs, batch_size))
    rng = np.random.default_rng(seed)
    # Large cohorts differ little: of them a few will do.
    samples = 1 if cohort == len(steps) else min(_SAMPLES, 20 + 20_000 // cohort)
    drawn = [rng.choice(steps, cohort, replace=False) for _ in range(samples)]
    return np.sort(drawn, axis=1)[:, ::-1]


def _waste(cohorts: np.ndarray, chunk: int, devices: int) -> float:
    layout = places(cohorts.shape[1], chunk, devices)
    # A chunk takes as long as its first client, which has the most steps.
    of_chunk = np.where(layout[:, :, 0] < 0, 0, cohorts[:, layout[:, :, 0]])
    executed = of_chunk.sum(axis=2).max(axis=1).sum() * layout[:, 0].size
    return float(executed / max(cohorts.sum(), 1) - 1)


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
    precision: str = "float32",
    devices: int = 1,
    fits: Callable[[str], int] | None = None,
) -> Iterator[Plan]:
    """The plans that fit the settings, the one that the rules choose first.

    On CPU the clients of a core run one after another, with native convolutions, which was the
    fastest for CNNs and ResNet-20, and for an MLP as fast as any number of clients side by side
    (``execution.plan probe`` times all plans and says so). Elsewhere they run side by side, with
    convolutions as matrix products; this has not been measured on a GPU or TPU yet. A chunk is
    the largest that has room and whose expected padding waste is at most ``MAX_WASTE``.

    Args:
      target: the kind of machine: cpu, gpu or tpu.
      weights: the variables of the model; without a kernel of four axes it has no convolution,
        and there is nothing to lower.
      sizes: samples of every client.
      cohort: M, clients in a round.
      epochs: local epochs.
      batch_size: local batch size.
      chunk: as set, or None to choose.
      client_axis: as set, or None to choose; a chunk above 1 implies vmap.
      conv: as set, or None to choose.
      precision: as set.
      devices: that share the clients of a round.
      fits: by lowering, how many clients side by side have room on a device; None for any.

    Yields:
      At least one plan.

    Raises:
      ConfigError: settings that contradict each other.

    Example:
      >>> work = {"sizes": [9, 9], "cohort": 2, "epochs": 1, "batch_size": 3}
      >>> print(next(plan_choices("cpu", weights={"kernel": np.zeros((3, 3, 1, 8))}, **work)))
      map (clients one after another), native convolutions, float32 (rule for cpu)
    """
    if chunk is not None and chunk > 1 and client_axis is None:
        client_axis = "vmap"
    convolutional = any(jnp.ndim(leaf) == 4 for leaf in jax.tree.leaves(weights))
    axis, lowering = ("map", "native") if target == "cpu" else ("vmap", "patches")
    # A setting decides one of them and leaves the rule for the other.
    first = client_axis or axis, conv or (lowering if convolutional else "native")
    others = [("map", "native"), ("map", "patches"), ("vmap", "patches"), ("vmap", "native")]
    choices = [first, *(choice for choice in others if choice != first)]
    for axis, lowering in choices:
        if client_axis not in (None, axis) or conv not in (None, lowering):
            continue
        if not convolutional and conv is None and lowering != "native":
            continue
        if axis == "map":
            size = 1 if chunk is None else chunk
        else:
            room = 64 if fits is None else max(min(fits(lowering), 64), 1)
            size = chunk or _largest_chunk(sizes, cohort, epochs, batch_size, devices, room)
        reason = f"rule for {target}" if (chunk, client_axis, conv) == (None,) * 3 else "as set"
        yield Plan(axis, size, lowering, precision, devices, reason, target)


def _largest_chunk(
    sizes: Sequence[int], cohort: int, epochs: int, batch_size: int, devices: int, room: int
) -> int:
    """The largest chunk of at most ``room`` clients that does not waste too much."""
    cohorts = _cohorts(sizes, cohort, epochs=epochs, batch_size=batch_size)
    # What the devices waste in any case, by waiting for each other, no chunk can avoid.
    accepted = max(MAX_WASTE, _waste(cohorts, 1, devices))
    for chunk in range(min(room, -(-cohort // devices)), 1, -1):
        if _waste(cohorts, chunk, devices) <= accepted:
            return chunk
    return 1
