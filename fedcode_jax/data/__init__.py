"""Data sets, how they are cut into clients, and augmentation.

``load`` gives a `Dataset`, a law of `partition` gives the row numbers of each client, and
`augment` distorts a batch inside the jitted step. `log_mel` makes features of waveforms.
"""

from fedcode_jax.data import augment, partition, speech
from fedcode_jax.data.arrays import from_arrays
from fedcode_jax.data.audio import log_mel
from fedcode_jax.data.augment import augmentations, crop_and_flip, spec_augment, time_shift
from fedcode_jax.data.dataset import Dataset
from fedcode_jax.data.own import as_dataset
from fedcode_jax.data.part import part_of
from fedcode_jax.data.partition import Partition
from fedcode_jax.data.sources import load, registry

__all__ = [
    "Dataset",
    "Partition",
    "as_dataset",
    "augment",
    "augmentations",
    "crop_and_flip",
    "from_arrays",
    "load",
    "log_mel",
    "part_of",
    "partition",
    "registry",
    "spec_augment",
    "speech",
    "time_shift",
]
