"""Which schedule for which network and accuracy floor."""

from fedcode_jax.advice.advising import Advice, advise
from fedcode_jax.advice.bytes_only import Expected, expected
from fedcode_jax.advice.choices import Choice, choices, yardstick
from fedcode_jax.advice.choosing import (
    Estimate,
    Floor,
    Verdict,
    decide,
    estimate,
    steady_accuracy,
)
from fedcode_jax.advice.page import html, markdown, question
from fedcode_jax.advice.picture import plot_choices
from fedcode_jax.advice.stages import Stage, next_config, next_stage, period_of, stage_text

__all__ = [
    "Advice",
    "Choice",
    "Estimate",
    "Expected",
    "Floor",
    "Stage",
    "Verdict",
    "advise",
    "choices",
    "decide",
    "estimate",
    "expected",
    "html",
    "markdown",
    "next_config",
    "next_stage",
    "period_of",
    "plot_choices",
    "question",
    "stage_text",
    "steady_accuracy",
    "yardstick",
]
