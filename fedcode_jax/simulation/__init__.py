"""Rounds, evaluation and whole runs, on plain objects: no config, no files but checkpoints."""

from fedcode_jax.simulation.evaluation import Score, evaluate, evaluate_each
from fedcode_jax.simulation.evaluation_data import EvaluationData
from fedcode_jax.simulation.faults import FaultMetrics, Faults, hostile_clients
from fedcode_jax.simulation.personal import PersonalScore, evaluate_personal
from fedcode_jax.simulation.program import Compiled, Program
from fedcode_jax.simulation.round import make_round
from fedcode_jax.simulation.run import Evaluation, Outcome, simulate
from fedcode_jax.simulation.segment import SegmentOutput
from fedcode_jax.simulation.state import (
    RoundMetrics,
    Settings,
    State,
    Traffic,
    initial_state,
)
from fedcode_jax.simulation.wire_check import WireCheck

__all__ = [
    "Compiled",
    "Evaluation",
    "EvaluationData",
    "FaultMetrics",
    "Faults",
    "Outcome",
    "PersonalScore",
    "Program",
    "RoundMetrics",
    "Score",
    "SegmentOutput",
    "Settings",
    "State",
    "Traffic",
    "WireCheck",
    "evaluate",
    "evaluate_each",
    "evaluate_personal",
    "hostile_clients",
    "initial_state",
    "make_round",
    "simulate",
]
