"""What vmap makes of a function of one client on a CPU: one after another.

On a CPU nothing is gained side by side. Scatters and gathers get slower, what one client has in
the cache the next one drives out, and a loop runs as long as its slowest client needs.
"""

from collections.abc import Callable
from typing import Any

import jax


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `jax.vmap` of a function a `jax.lax.map`.

    Args:
      function: of pytrees of arrays, positional; returns one array. Not to be differentiated.

    Returns:
      The same function, also under nested vmaps and with only some arguments batched.

    Example:
      >>> import jax.numpy as jnp
      >>> add = one_by_one(lambda a, b: a + b)
      >>> jax.vmap(add, in_axes=(0, None))(jnp.arange(3), 10).tolist()
      [10, 11, 12]
    """
    # Traced once: the oldest JAX traces it again while compiling, by settings that a caller of
    # ``fit`` had changed since.
    whole = jax.custom_batching.custom_vmap(jax.jit(function))

    @whole.def_vmap
    def rule(size: int, batched: Any, *arguments: Any) -> tuple[jax.Array, bool]:
        leaves, structure = jax.tree.flatten(arguments)
        is_batched = jax.tree.leaves(batched)

        def one(moving: list[jax.Array]) -> Any:
            rest = iter(moving)
            pairs = zip(leaves, is_batched, strict=True)
            # Not the function but the whole: an outer vmap finds the same rule again.
            merged = [next(rest) if moves else leaf for leaf, moves in pairs]
            return whole(*jax.tree.unflatten(structure, merged))

        mapped = [leaf for leaf, m in zip(leaves, is_batched, strict=True) if m]
        return jax.lax.map(one, mapped), True

    return whole
