"""Checkpoints: the state of a run as files, with a manifest that says what they are of.

A checkpoint is a folder ``round_NNNNNN``: a safetensors file from each process, with the parts of
the arrays that lie there, and ``manifest.json``. It appears whole or not at all.
"""

from fedcode_jax.simulation.checkpoint.folder import latest, read, restore, rounds, save
from fedcode_jax.simulation.checkpoint.manifest import MANIFEST, Manifest, check_origin, load

__all__ = [
    "MANIFEST",
    "Manifest",
    "check_origin",
    "latest",
    "load",
    "read",
    "restore",
    "rounds",
    "save",
]
