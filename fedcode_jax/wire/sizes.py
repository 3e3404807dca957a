"""How many bits a message takes, computed inside a jitted program."""

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.errors import ConfigError
from fedcode_jax.wire import lengths
from fedcode_jax.wire.entropy import VALUES_PER_BYTE
from fedcode_jax.wire.message import (
    FLOAT_TYPES,
    Array,
    Coded,
    Dense,
    Kind,
    Message,
    Section,
)

MESSAGE_HEADER_BYTES = 9

Bytes = int | jax.Array


def code_width(num_clusters: int) -> int:
    """Bits of one fixed-width code, ceil(log2 K).

    Example:
      >>> [code_width(k) for k in (1, 2, 3, 64, 65, 65536)]
      [0, 1, 2, 6, 7, 16]
    """
    return (num_clusters - 1).bit_length()


def size_bits(message: Message, *, given: Message | None = None) -> jax.Array:
    """Length of the encoded message, in bits: ``8 * len(encode(message, given=given))``.

    Traceable and vmappable. For fixed-width codes and floats the sizes follow from the shapes
    and are exact. For entropy-coded codes they are the ideal code lengths of the coder's own
    models, with tables and headers: within 1 % of the bytes, or a few words for tiny messages.

    Args:
      message: a message whose kind may be traced.
      given: what the receiver holds, for sections whose coding is conditional: a reference of
        the same structure whose kind, traced or not, says whether there is one.

    Returns:
      u32[], bits, headers and checksum included; 0 where nothing is sent.

    Raises:
      ConfigError: a message of 2^32 bits (512 MiB) or more at fixed width, which the count
        cannot hold.

    Example:
      >>> section = Coded(jnp.arange(4.0), jnp.zeros(100, jnp.uint8))
      >>> [int(size_bits(Message(jnp.int32(kind), (section,)))) // 8 for kind in Kind]
      [0, 28, 57]
    """
    _check(8 * MESSAGE_HEADER_BYTES + sum(_fixed_bits(section) for section in message.sections))
    codebook = weights = jnp.uint32(MESSAGE_HEADER_BYTES)
    for index, section in enumerate(message.sections):
        if isinstance(section, Dense):
            size = jnp.uint32(_fixed_bits(section) // 8)
            weights = weights + size
            codebook = codebook + size * section.always
        else:
            reference = None if given is None else given.sections[index]
            known = reference if isinstance(reference, Coded) else None
            has_known = False if given is None else given.kind == Kind.WEIGHTS
            centers = _codebook_bytes(section)
            codebook = codebook + centers
            weights = weights + centers + _code_bytes(section, known, has_known)
    sizes = jnp.stack([jnp.uint32(0), 8 * codebook, 8 * weights]).astype(jnp.uint32)
    return sizes[message.kind]


def formula_bits(message: Message) -> jax.Array:
    """The published count of the same message, in bits, no headers.

    A codebook counts 32 K B, a code ceil(log2 K), a float 32, whatever the coding (FedCode,
    arXiv 2311.09270, and the authors' accounting of weight clustering).

    Args:
      message: a message whose kind may be traced.

    Returns:
      u32[], bits.

    Raises:
      ConfigError: a count of 2^32 bits or more.

    Example:
      >>> section = Coded(jnp.arange(4.0), jnp.zeros(100, jnp.uint8))
      >>> [int(formula_bits(Message(jnp.int32(kind), (section,)))) for kind in Kind]
      [0, 128, 328]
    """
    codebooks = weights = 0
    for section in message.sections:
        if isinstance(section, Coded):
            K = section.num_clusters
            codebooks += 32 * K * block_size(section)
            weights += 32 * K * block_size(section) + section.codes.shape[-1] * code_width(K)
        else:
            weights += 32 * section.values.shape[-1]
            codebooks += 32 * section.values.shape[-1] * section.always
    _check(weights)
    return jnp.asarray(np.array([0, codebooks, weights], np.uint32))[message.kind]


def block_size(section: Coded) -> int:
    """B, the values that one code stands for."""
    return 1 if section.centers.ndim == section.codes.ndim else section.centers.shape[-1]


def used_centers(section: Coded) -> jax.Array:
    """How many centers an entropy-coded section sends: all but the repeats at the end.

    Returns:
      i32[], at least 1 and above every code.
    """
    centers = jnp.asarray(section.centers).reshape(section.num_clusters, -1)
    new = jnp.any(centers[1:] != centers[:-1], axis=1)
    last = jnp.max(jnp.where(new, jnp.arange(1, centers.shape[0]), 0), initial=0)
    return 1 + jnp.maximum(last, jnp.max(section.codes, initial=0).astype(jnp.int32))


def header_bytes(section: Section, kind: Kind, layers: int = 1) -> int:
    """Bytes of a section's header.

    Args:
      section: the section as it is sent (see ``sent``), in a kind of message that sends it.
      kind: codebook or weights.
      layers: how many layers an adaptive section names.
    """
    if isinstance(section, Dense):
        return 5
    size = 3 if block_size(section) == 1 else 4
    if section.coding != "fixed":
        size += 2
    if kind == Kind.CODEBOOK:
        return size
    extra = {"fixed": 4, "entropy": 8, "adaptive": 10, "conditional": 12}[section.coding]
    return size + extra + (4 * layers if section.coding == "adaptive" and layers > 1 else 0)


def _codebook_bytes(section: Coded) -> Bytes:
    """Header and centers, as in a codebook message."""
    count = section.num_clusters if section.coding == "fixed" else used_centers(section)
    centers = jnp.uint32(4 * block_size(section)) * jnp.asarray(count, jnp.uint32)
    return header_bytes(section, Kind.CODEBOOK) + centers


def _code_bytes(section: Coded, known: Coded | None, has_known: Array | bool) -> Bytes:
    """What a weights message adds: the rest of the header, tables, and the codes."""
    n, K = section.codes.shape[-1], section.num_clusters
    codes = jnp.asarray(section.codes)
    here = header_bytes(section, Kind.CODEBOOK)
    if section.coding == "fixed":
        packed = (n * code_width(K) + 7) // 8
        return header_bytes(section, Kind.WEIGHTS) - here + packed
    used = used_centers(section)

    def size(coding: str, bits: jax.Array, layers: int = 1, table: Bytes = 0) -> Bytes:
        as_sent = Coded(section.centers, codes, coding)
        header = header_bytes(as_sent, Kind.WEIGHTS, layers) - here
        if n == 0:
            return header
        # The coder writes whole words of 32 bits, and rarely one more than its bits fill.
        words = jnp.ceil(bits / 32 + 0.01).astype(jnp.uint32)
        payload = 4 * jnp.maximum(words, -(-n // (4 * VALUES_PER_BYTE)))
        return jnp.asarray(header + table + payload, jnp.uint32)

    if section.coding == "entropy":
        return size("entropy", lengths.static_bits(codes, K), table=used)
    layers = section.layers or (n,)
    adaptive = size("adaptive", lengths.adaptive_bits(codes, K, used, layers), len(layers))
    if section.coding == "adaptive" or known is None:
        return adaptive
    conditional = size("conditional", lengths.conditional_bits(section, used, known))
    return jnp.where(has_known, conditional, adaptive)


def _fixed_bits(section: Section) -> int:
    """Bits of a section with its header in a weights message, codes at fixed width."""
    if isinstance(section, Dense):
        return 8 * (5 + section.values.shape[-1] * FLOAT_TYPES[section.dtype].itemsize)
    codes = section.codes.shape[-1] * code_width(section.num_clusters)
    return 32 * section.num_clusters * block_size(section) + codes + 8 * 20


def _check(bits: int) -> None:
    if bits >= 2**32:
        raise ConfigError(
            f"a message of {bits} bits exceeds the 2^32 that sizes are counted in; "
            "use a smaller model or fewer bits a value (algorithm.num_clusters)"
        )
