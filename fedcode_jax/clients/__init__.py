"""Local training, and the cohort of a round run in bulk by an execution plan."""

from fedcode_jax.clients.batches import ClientData, normalise
from fedcode_jax.clients.cohort import CohortOutput, run_cohort
from fedcode_jax.clients.optimizers import optimizer, optimizer_names
from fedcode_jax.clients.plan import Plan, choose_plan, expected_waste
from fedcode_jax.clients.training import LocalTraining, train

__all__ = [
    "ClientData",
    "CohortOutput",
    "LocalTraining",
    "Plan",
    "choose_plan",
    "expected_waste",
    "normalise",
    "optimizer",
    "optimizer_names",
    "run_cohort",
    "train",
]
