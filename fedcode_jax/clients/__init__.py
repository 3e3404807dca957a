"""Local training, and the cohort of a round run in bulk by an execution plan."""

from fedcode_jax.clients.batches import ClientData, normalise
from fedcode_jax.clients.choosing import plan_choices
from fedcode_jax.clients.chunks import train
from fedcode_jax.clients.cohort import CohortOutput, run_cohort
from fedcode_jax.clients.layout import dealt
from fedcode_jax.clients.losses import check_loss, check_metric, check_metrics, cross_entropy
from fedcode_jax.clients.occupancy import expected_waste
from fedcode_jax.clients.optimizers import optimizer, optimizer_names
from fedcode_jax.clients.plan import Plan
from fedcode_jax.clients.prices import step_price
from fedcode_jax.clients.reference import train_reference
from fedcode_jax.clients.training import LocalTraining

__all__ = [
    "ClientData",
    "CohortOutput",
    "LocalTraining",
    "Plan",
    "check_loss",
    "check_metric",
    "check_metrics",
    "cross_entropy",
    "dealt",
    "expected_waste",
    "normalise",
    "optimizer",
    "optimizer_names",
    "plan_choices",
    "run_cohort",
    "step_price",
    "train",
    "train_reference",
]
