"""What a compressor is: a vector to a section of a message and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedcode_jax import wire
from fedcode_jax.compress.kept import kept
from fedcode_jax.wire import Section

Memory = Any


class Compressor(NamedTuple):
    """Pure functions over the vector of a group, for one sender; used up and down.

    What the receiver reads depends on the section alone, so that it can be had from the bytes.

    Attributes:
      init: (size) -> what the sender remembers before its first vector; None for nothing.
      compress: (memory, vector f32[n], key) -> (section, memory).
      decompress: (section, size) -> f32[n], what the section stands for.
      undo: (memory, vector) -> memory, when a section did not arrive that stood for ``vector``;
        None where nothing counts on it.
      has_memory: whether it adds to a vector what it left out of earlier ones. The server's
        weights less what its clients hold are such a memory already, so it goes up only.
      for_shape: (shape of a variable) -> the compressor of its values; None where the shape is of
        no account. Then every compressed group is one variable, and ``undo`` and ``has_memory``
        are those of all shapes.
      fits_codebooks: whether it fits codebooks, as of ``Algorithm``.
    """

    init: Callable[[int], Memory]
    compress: Callable[[Memory, jax.Array, jax.Array], tuple[Section, Memory]]
    decompress: Callable[[Section, int], jax.Array]
    undo: Callable[[Memory, jax.Array], Memory] | None = None
    has_memory: bool = False
    for_shape: Callable[[tuple[int, ...]], "Compressor"] | None = None
    fits_codebooks: bool | None = None


def stateless(compress: Callable[[jax.Array, jax.Array], Section]) -> Compressor:
    """A compressor that remembers nothing.

    Args:
      compress: (vector f32[n], key) -> section, one of the wire's.

    Returns:
      The compressor; a section stands for what ``wire.values`` says.

    Example:
      >>> halved = stateless(lambda vector, key: wire.Dense.rounded(vector, "float16"))
      >>> section, _ = halved.compress(None, jnp.array([0.1]), jax.random.key(0))
      >>> halved.decompress(section, 1).tolist()
      [0.0999755859375]
    """
    return Compressor(
        init=lambda size: None,
        compress=lambda memory, vector, key: (compress(vector, key), memory),
        decompress=wire.values,
    )


def error_feedback(compressor: Compressor, keep: str = "float32") -> Compressor:
    """Adds to every vector what was left out of the ones before it.

    With residual e, vector v, and D(C(.)) what the receiver reads:

        u = v + e,   send C(u),   e <- u - D(C(u))

    and if it did not arrive, e <- e + D(C(u)) = u: nothing is lost but time. What is not finite is
    not kept, so that a client that diverged and was not heard can go on.

    Args:
      compressor: what u is compressed by; it has no memory of this kind itself.
      keep: how the residual is kept, as of ``kept``; what keeping loses is lost.

    Returns:
      The compressor; for the uplink.

    Raises:
      ValueError: a compressor that has a memory.
      ConfigError: an unknown ``keep``.

    Source: Seide et al., Interspeech 2014; Karimireddy et al., arXiv 1901.09847, algorithm 2.

    Example:
      >>> from fedcode_jax.compress import topk
      >>> fed = error_feedback(topk(fraction=0.5))
      >>> section, memory = fed.compress(fed.init(2), jnp.array([2.0, 1.0]), jax.random.key(0))
      >>> section, memory = fed.compress(memory, jnp.array([0.5, 1.0]), jax.random.key(1))
      >>> section.positions.tolist(), section.values.values.tolist()
      ([1], [2.0])
    """
    if compressor.has_memory:
        raise ValueError("a compressor with a memory: what it leaves out would count twice")
    form, for_shape = kept(keep), compressor.for_shape

    def compress(memory: Memory, vector: jax.Array, key: jax.Array) -> tuple[Section, Memory]:
        residual, inner = memory
        whole = vector + form.load(residual)
        section, inner = compressor.compress(inner, whole, key)
        left = whole - compressor.decompress(section, vector.size)
        return section, (form.store(finite(left)), inner)

    def undo(memory: Memory, vector: jax.Array) -> Memory:
        residual, inner = memory
        inner = inner if compressor.undo is None else compressor.undo(inner, vector)
        return form.store(finite(form.load(residual) + vector)), inner

    return compressor._replace(
        init=lambda size: (form.store(jnp.zeros(size)), compressor.init(size)),
        compress=compress,
        undo=undo,
        has_memory=True,
        for_shape=for_shape and (lambda shape: error_feedback(for_shape(shape), keep)),
    )


def finite(values: jax.Array) -> jax.Array:
    """The values, 0 for those that are not finite: what a memory keeps."""
    return jnp.where(jnp.isfinite(values), values, 0)
