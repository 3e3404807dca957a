"""What this machine reaches: a matrix product, a copy; and the memory of a process."""

import dataclasses
import sys

import jax
import jax.numpy as jnp

from fedcode_jax.bench.timing import Timed, compiled
from fedcode_jax.clients import Plan
from fedcode_jax.devices import spread
from fedcode_jax.targets import CPU

COPY_BYTES = 256_000_000


@dataclasses.dataclass(frozen=True)
class Reference:
    """Work to hold a part of a round against.

    Attributes:
      timed: the work.
      amount: FLOP or bytes of one call, on all devices together.
      what: the work in words.
    """

    timed: Timed
    amount: int
    what: str


def references(plan: Plan) -> dict[str, Reference]:
    """A plain matrix product and a plain copy on the devices of a plan.

    On CPU, where a plan's devices are cores, both run as one program on all cores. Elsewhere
    every device of the plan has a product and a buffer of its own.

    Args:
      plan: the devices and the precision of the product.

    Returns:
      ``product``, whose amount is in FLOP, and ``copy``, in bytes.
    """
    cpu = plan.target == CPU
    # One device without compiler options: XLA's own threads take every core.
    plan = dataclasses.replace(plan, devices=1 if cpu else plan.devices)
    side = 2048 if cpu else 8192
    return {"product": _product(plan, side), "copy": _copy(plan)}


def _product(plan: Plan, side: int) -> Reference:
    where = spread(plan.devices)
    matrices = jax.device_put(jnp.ones((plan.devices, side, side), plan.dtype), where)
    product = compiled(jnp.matmul, matrices, matrices, plan=plan, out_shardings=where)
    return Reference(
        Timed(lambda: product(matrices, matrices)),
        2 * side**3 * plan.devices,
        f"{side}^3 matrix product, {plan.precision}",
    )


def _copy(plan: Plan) -> Reference:
    where = spread(plan.devices)
    shape = (plan.devices, COPY_BYTES // 4)
    buffer = jax.device_put(jnp.zeros(shape), where)
    add = compiled(lambda x: x + 1, buffer, plan=plan, donate_argnums=0, out_shardings=where)

    def run() -> jax.Array:
        nonlocal buffer
        buffer = add(buffer)
        return buffer

    return Reference(
        Timed(run), 2 * COPY_BYTES * plan.devices, f"x + 1 over {COPY_BYTES // 10**6} MB in place"
    )


def peak_resident_bytes() -> int | None:
    """The most memory that this process has held so far, or None where the system has no count.

    Example:
      >>> peak = peak_resident_bytes()
      >>> peak is None or peak > 1_000_000
      True
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
