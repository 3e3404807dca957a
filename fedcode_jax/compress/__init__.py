"""Compressors: vectors to sections of a message and back, for either direction."""

from collections.abc import Callable

from fedcode_jax.compress.base import Compressor, error_feedback, stateless
from fedcode_jax.compress.codebook import codebook
from fedcode_jax.compress.coded_group import Coder
from fedcode_jax.compress.dgc import dgc
from fedcode_jax.compress.drive import drive
from fedcode_jax.compress.eden import eden
from fedcode_jax.compress.fedzip import fedzip
from fedcode_jax.compress.kept import FORMS, Kept, kept
from fedcode_jax.compress.mucsc import mucsc
from fedcode_jax.compress.none import none
from fedcode_jax.compress.powersgd import powersgd
from fedcode_jax.compress.qsgd import qsgd
from fedcode_jax.compress.sign import sign
from fedcode_jax.compress.stc import stc
from fedcode_jax.compress.topk import topk

registry: dict[str, Callable[..., Compressor]] = {
    "codebook": codebook,
    "dgc": dgc,
    "drive": drive,
    "eden": eden,
    "fedzip": fedzip,
    "mucsc": mucsc,
    "none": none,
    "powersgd": powersgd,
    "qsgd": qsgd,
    "sign": sign,
    "stc": stc,
    "topk": topk,
}
"""The compressors that ``algorithm.up.name`` and ``algorithm.down.name`` can choose."""

__all__ = [
    "FORMS",
    "Coder",
    "Compressor",
    "Kept",
    "codebook",
    "dgc",
    "drive",
    "eden",
    "error_feedback",
    "fedzip",
    "kept",
    "mucsc",
    "none",
    "powersgd",
    "qsgd",
    "registry",
    "sign",
    "stateless",
    "stc",
    "topk",
]
