"""Clients as rows of one resident data set: shuffling and cutting into batches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.targets import CPU, by_target

_INDEX_BITS = 12  # of a key that is sorted with its index in place of its lower bits


class ClientData(NamedTuple):
    """The training set, once on the device, and which samples each client holds.

    Attributes:
      x: [N, ...features], in raw units (uint8, int16 or float32).
      y: i32[N], labels.
      mean: f32[channels], per channel, in raw units.
      std: f32[channels], per channel, in raw units.
      order: i32[N'], the sample indices of client 0, then of client 1, ...
      offsets: i32[C], where in ``order`` each client begins.
      sizes: i32[C], N_i, how many samples it holds.
    """

    x: jax.Array
    y: jax.Array
    mean: jax.Array
    std: jax.Array
    order: jax.Array
    offsets: jax.Array
    sizes: jax.Array

    @classmethod
    def from_arrays(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        mean: np.ndarray,
        std: np.ndarray,
        clients: tuple[np.ndarray, ...],
    ) -> "ClientData":
        """Lays arrays and a partition (the index array of every client) on the device."""
        sizes = np.array([len(indices) for indices in clients], np.int32)
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        order = np.concatenate(clients).astype(np.int32)
        arrays = (x, np.asarray(y, np.int32), mean, std, order, offsets, sizes)
        return cls(*(jnp.asarray(array) for array in arrays))


def normalise(x: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """(x - mean) / std per channel, as float32."""
    return (x.astype(jnp.float32) - mean) / std


def num_steps(size: jax.Array, epochs: int, batch_size: int) -> jax.Array:
    """Steps of a client with ``size`` samples: epochs times ceil(size / batch size).

    Example:
      >>> import jax.numpy as jnp
      >>> num_steps(jnp.array([0, 1, 32, 33]), epochs=2, batch_size=32).tolist()
      [0, 2, 2, 4]
    """
    return epochs * ((size + batch_size - 1) // batch_size)


def shuffles(
    key: jax.Array,
    size: jax.Array | int,
    max_size: int,
    epochs: int,
    *,
    target: str | None = None,
) -> jax.Array:
    """A fresh order of a client's samples for every epoch.

    The order of an epoch depends on the key, the epoch and the number of samples, not on
    the padded length.

    Args:
      key: the client's key of this round.
      size: i32[], its number of samples, at most ``max_size``.
      max_size: length of a row, static.
      epochs: number of rows, static.
      target: the kind of machine that it is for, as of `by_target`; all give the same.

    Returns:
      i32[epochs, max_size]; the first ``size`` entries of a row are a permutation of
      0..size-1.

    Example:
      >>> import jax
      >>> row = shuffles(jax.random.key(0), 3, 5, 1)[0]
      >>> sorted(row[:3].tolist())
      [0, 1, 2]
    """

    def keys_of(epoch: jax.Array) -> jax.Array:
        noise = jax.random.bits(jax.random.fold_in(key, epoch), (max_size,))
        # A stable sort keeps the padding, which has the largest key and index, at the end.
        return jnp.where(jnp.arange(max_size) < size, noise, jnp.uint32(0xFFFFFFFF))

    def ordered(noise: jax.Array, target: str) -> jax.Array:
        packed = target == CPU and max_size <= 2**_INDEX_BITS
        return jax.vmap(_packed_argsort if packed else _argsort)(noise)

    return by_target(ordered, target)(jax.vmap(keys_of)(jnp.arange(epochs)))


def _argsort(keys: jax.Array) -> jax.Array:
    return jnp.argsort(keys, stable=True)


def _packed_argsort(keys: jax.Array) -> jax.Array:
    """``jnp.argsort(keys, stable=True)`` of at most 4,096 random keys u32[n], faster on a CPU.

    XLA sorts one array of whole numbers by a routine of its own there: the upper bits of a key and
    its index. Then neighbours change places until the lower bits, too, are in order, which of
    random keys few need.
    """
    low = jnp.uint32(2**_INDEX_BITS - 1)
    index = jnp.arange(keys.size, dtype=jnp.uint32)
    order = (jax.lax.sort(keys & ~low | index) & low).astype(jnp.int32)

    def in_disorder(order: jax.Array) -> jax.Array:
        sorted_keys = keys[order]
        return jnp.any(sorted_keys[1:] < sorted_keys[:-1])

    def change_places(order: jax.Array) -> jax.Array:
        for first in (0, 1):
            last = first + (order.size - first) // 2 * 2
            pairs = order[first:last].reshape(-1, 2)
            changed = keys[pairs[:, :1]] > keys[pairs[:, 1:]]
            pairs = jnp.where(changed, pairs[:, ::-1], pairs)
            order = order.at[first:last].set(pairs.reshape(-1))
        return order

    return jax.lax.while_loop(in_disorder, change_places, order)


def batch_at(
    shuffled: jax.Array, size: jax.Array, step: jax.Array, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """The samples of one step; the last batch of an epoch may be a partial one.

    A partial batch is filled up with its own samples in turn, so that what looks at whole batches,
    such as a batch norm without a mask, sees nobody else's.

    Args:
      shuffled: i32[epochs, max_size], from ``shuffles``.
      size: i32[], the client's number of samples.
      step: i32[], counted from 0 over all epochs.
      batch_size: B, static.

    Returns:
      positions i32[B] among the client's samples, and mask bool[B], false where the batch
      is padded.

    Example:
      >>> positions, mask = batch_at(jnp.array([[4, 2, 0, 3, 1]]), 5, 1, 3)
      >>> positions.tolist(), mask.tolist()
      ([3, 1, 3], [True, True, False])
    """
    steps_per_epoch = jnp.maximum((size + batch_size - 1) // batch_size, 1)
    epoch, batch = step // steps_per_epoch, step % steps_per_epoch
    first, row = batch * batch_size, jnp.arange(batch_size)
    own = jnp.clip(size - first, 1, batch_size)
    return shuffled[epoch, first + row % own], first + row < size
