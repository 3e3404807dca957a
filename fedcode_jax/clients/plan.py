"""The execution plan: how a cohort runs on this machine. It never changes the result."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from fedcode_jax.clients.places import places
from fedcode_jax.errors import ConfigError, check_name
from fedcode_jax.targets import TARGETS, here

PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}
"""Names of matmul precision, and what JAX calls them."""

LAYOUTS = ("sorted", "packed")
"""How clients are put in the places that there are side by side."""


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
      deterministic: whether a GPU is only to use operations that give the same bits each time.
    """

    client_axis: str
    chunk: int
    conv: str
    precision: str = "float32"
    devices: int = 1
    reason: str = "as set"
    target: str = dataclasses.field(default_factory=here)
    layout: str = "sorted"
    deterministic: bool = False

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
        """For ``Lowered.compile``: on CPU, devices are cores, and not to share their work.

        On a GPU, deterministic programs do without atomic sums, and without choosing kernels by
        trying them, which may choose others the next time.
        """
        if self.deterministic and self.target == "gpu":
            return {"xla_gpu_deterministic_ops": True}
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
            f"{self.precision}{', deterministic' * self.deterministic} ({self.reason})"
        )
