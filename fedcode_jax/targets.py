"""For which kind of machine a program is made: the one place that knows how they differ.

What suits a CPU is seldom what suits a GPU or TPU: the one scatters and loops, the others sort,
compare and multiply. A part that has several forms takes its ``target`` as an argument. Without
one it holds all forms, and the one that is compiled is that of the machine which the program is
compiled for, also if that is not the machine at hand. Nothing asks, while tracing, where it is.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import NamedSharding

from fedcode_jax.errors import check_name

TARGETS = CPU, GPU, TPU = "cpu", "gpu", "tpu"
"""The kinds of machines."""


def here() -> str:
    """The kind of machine that JAX runs programs on by default.

    Example:
      >>> here() in TARGETS
      True
    """
    backend = jax.default_backend()
    return backend if backend in TARGETS else GPU


def check_target(target: str | None) -> None:
    """Refuses what is no kind of machine.

    Raises:
      ConfigError: ``target`` is neither None nor one of ``TARGETS``.
    """
    if target is not None:
        check_name("target", target, TARGETS)


def by_target(
    function: Callable[..., Any], target: str | None = None, *, alike: bool = True
) -> Callable[..., Any]:
    """A function in its form for one kind of machine, or for that which it is compiled for.

    Args:
      function: (*arrays, target=one of ``TARGETS``) -> arrays. All its forms return the same
        shapes and types.
      target: which form; None for that of the machine that the program is compiled for.
      alike: whether TPUs have the form of GPUs.

    Returns:
      A function of the arrays.

    Raises:
      ConfigError: an unknown target.

    Example:
      >>> import jax.numpy as jnp
      >>> double = lambda x, target: x + x if target == "cpu" else 2 * x
      >>> print(jax.make_jaxpr(by_target(double, "gpu"))(1.0))
      { lambda ; a:f32[]. let b:f32[] = mul 2.0:f32[] a in (b,) }
      >>> float(by_target(double)(jnp.float32(1.5)))
      3.0
    """
    check_target(target)
    if target is not None:
        return partial(function, target=target)
    cpu, gpu, tpu = (partial(function, target=kind) for kind in TARGETS)

    def chosen(*arrays: Any) -> Any:
        if alike:
            return jax.lax.platform_dependent(*arrays, cpu=cpu, default=gpu)
        # The last is what counts of work read: a TPU's form, whose products are the plain ones.
        return jax.lax.platform_dependent(*arrays, cpu=cpu, cuda=gpu, rocm=gpu, default=tpu)

    return chosen


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine that programs are compiled for and that is not here: they cannot run.

    Attributes:
      name: for people.
      target: the kind of machine.
      platform: as programs are lowered for it: ``cpu``, ``cuda`` or ``tpu``.
      devices: descriptions of its devices, as JAX gives them of a topology.
      memory: bytes of each device that programs and their data may fill; None if not known.
    """

    name: str
    target: str
    platform: str
    devices: tuple[Any, ...]
    memory: int | None = None

    def lower(self, function: Callable[..., Any], inputs: Any, shardings: Any) -> Any:
        """Lowers a jitted function, of whose arguments only the shapes are needed.

        Args:
          function: as of ``jax.jit``.
          inputs: the tuple of its arguments, of arrays or shapes.
          shardings: where they would lie, one for all or a tree of them.

        Returns:
          What ``lower`` of the function returns where the machine is at hand.
        """

        def shape(leaf: Any, where: NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

        if isinstance(shardings, NamedSharding):
            shapes = jax.tree.map(lambda leaf: shape(leaf, shardings), inputs)
        else:
            shapes = jax.tree.map(shape, inputs, shardings)
        traced: Any = function
        return traced.trace(*shapes).lower(lowering_platforms=(self.platform,))
