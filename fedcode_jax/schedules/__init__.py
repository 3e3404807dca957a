"""Which round sends what: schedules as pure functions, and what adaptive ones remember."""

from fedcode_jax.schedules.base import Exchange, Moment, Schedule, Settings
from fedcode_jax.schedules.history import Costs, Memory, Seen, forgotten
from fedcode_jax.schedules.making import (
    always,
    budget,
    drift,
    every,
    late,
    never,
    paired,
    periodic,
    registry,
    step_size,
    warmup,
)
from fedcode_jax.schedules.own import check_schedule, from_rule
from fedcode_jax.schedules.signals import SKETCH_SIZE, model_variance, moved, sketch

__all__ = [
    "SKETCH_SIZE",
    "Costs",
    "Exchange",
    "Memory",
    "Moment",
    "Schedule",
    "Seen",
    "Settings",
    "always",
    "budget",
    "check_schedule",
    "drift",
    "every",
    "forgotten",
    "from_rule",
    "late",
    "model_variance",
    "moved",
    "never",
    "paired",
    "periodic",
    "registry",
    "sketch",
    "step_size",
    "warmup",
]
