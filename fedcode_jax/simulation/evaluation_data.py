"""A test set on the devices: cut into batches, with what is known of its users and the clients."""

from typing import Any, NamedTuple

import jax
import numpy as np

from fedcode_jax.devices import lay, replicated, spread
from fedcode_jax.targets import Machine


class EvaluationData(NamedTuple):
    """A test set cut into equal batches, the last one padded.

    Attributes:
      x: [batches, B, ...features], raw units.
      y: i32[batches, B].
      user: i32[batches, B], whose sample each is: places in ``user_sizes``, or beyond the last
        for samples of nobody.
      mask: bool[batches, B], false where the batch is padded.
      mean: f32[channels], of the training set.
      std: f32[channels], of the training set.
      class_sizes: f32[K], test samples of each class.
      user_sizes: f32[U], test samples of each user; U = 0 if they have none.
      shares: f32[C, K], share of each class among the training samples of each client.
      owners: i32[C], the place in ``user_sizes`` of the one user whose samples a client trains on;
        U if there is none, or the user has no test samples.
    """

    x: jax.Array
    y: jax.Array
    user: jax.Array
    mask: jax.Array
    mean: jax.Array
    std: jax.Array
    class_sizes: jax.Array
    user_sizes: jax.Array
    shares: jax.Array
    owners: jax.Array

    @classmethod
    def from_arrays(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        mean: np.ndarray,
        std: np.ndarray,
        *,
        users: np.ndarray | None = None,
        shares: np.ndarray | None = None,
        owners: np.ndarray | None = None,
        batch_size: int = 500,
        devices: int = 1,
        machine: Machine | None = None,
    ) -> "EvaluationData":
        """Cuts a test set into batches, as many on each device, pads it and lays it there.

        Args:
          x: [T, ...features], raw units.
          y: integers [T].
          mean: f32[channels].
          std: f32[channels].
          users: integers [T], negative for nobody's, or None.
          shares: f32[C, K]; default: no clients, and as many classes as occur in ``y``.
          owners: i32[C], as of ``places_among``; default: nobody's.
          batch_size: at most.
          devices: that share the batches.
          machine: whose they are; None for those at hand.

        Returns:
          The data, on the devices; those for a machine that is not here stay on the host.
        """
        n = len(y)
        batches = -(-n // batch_size)
        batches = -(-batches // devices) * devices
        size = -(-n // batches)
        places = np.minimum(np.arange(batches * size), n - 1).reshape(batches, size)
        mask = (np.arange(batches * size) < n).reshape(batches, size)
        if shares is None:
            shares = np.zeros((0, int(np.max(y)) + 1))
        known, user = _numbered(np.full(n, -1) if users is None else users)
        cut = (x[places], np.asarray(y, np.int32)[places], user[places], mask)
        sizes = (
            np.bincount(y, minlength=np.shape(shares)[1]).astype(np.float32),
            np.bincount(user, minlength=known)[:known].astype(np.float32),
        )
        owners = np.full(len(shares), known) if owners is None else owners
        whole = (mean, std, *sizes, np.asarray(shares, np.float32), np.asarray(owners, np.int32))
        arrays: Any = (*cut, *whole)
        found = cls(*arrays)
        return found if machine is not None else lay(found, cls.shardings(devices))

    @classmethod
    def shardings(cls, devices: int, machine: Machine | None = None) -> Any:
        """Where each array lies: the batches are spread over the devices, which have all else."""
        apart: Any = spread(devices, machine=machine)
        everywhere: Any = replicated(devices, machine=machine)
        return cls(*[apart] * 4, *[everywhere] * 6)


def _numbered(users: np.ndarray) -> tuple[int, np.ndarray]:
    """How many users there are, and the place of each sample's; nobody comes after the last."""
    known, places = np.unique(users, return_inverse=True)
    nobody = int(np.searchsorted(known, 0))
    count = len(known) - nobody
    return count, np.where(places < nobody, count, places - nobody).astype(np.int32)


def places_among(users: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The places i32[C] of users among those of the test set; their number for one who has none.

    Args:
      users: integers [T], of the test samples, negative for nobody's.
      owners: integers [C].

    Example:
      >>> places_among(np.array([7, -1, 3]), np.array([3, 7, 5, -1])).tolist()
      [0, 1, 2, 2]
    """
    known = np.unique(users[users >= 0])
    places = np.searchsorted(known, owners)
    found = np.isin(owners, known)
    return np.where(found, places, len(known)).astype(np.int32)
