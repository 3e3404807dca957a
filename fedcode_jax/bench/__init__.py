"""How fast this machine runs an experiment, and what one that is not here would take for it."""

from fedcode_jax.bench.elsewhere import compile_for
from fedcode_jax.bench.flops import Work, training_flops, work_of
from fedcode_jax.bench.measuring import measure
from fedcode_jax.bench.table import speed_table
from fedcode_jax.bench.table_elsewhere import target_table

__all__ = [
    "Work",
    "compile_for",
    "measure",
    "speed_table",
    "target_table",
    "training_flops",
    "work_of",
]
