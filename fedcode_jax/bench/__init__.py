"""How fast this machine runs an experiment, and what of its capacity that is."""

from fedcode_jax.bench.flops import Work, training_flops, work_of
from fedcode_jax.bench.measuring import measure
from fedcode_jax.bench.table import speed_table

__all__ = ["Work", "measure", "speed_table", "training_flops", "work_of"]
