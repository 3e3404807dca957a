"""Which schedule for which network and accuracy floor."""

from fedcode_jax.advice.advising import Advice, advise
from fedcode_jax.advice.choices import Choice, choices, yardstick
from fedcode_jax.advice.choosing import (
    Estimate,
    Floor,
    Verdict,
    decide,
    estimate,
    steady_accuracy,
)
from fedcode_jax.advice.page import html, markdown, plot_choices, question

__all__ = [
    "Advice",
    "Choice",
    "Estimate",
    "Floor",
    "Verdict",
    "advise",
    "choices",
    "decide",
    "estimate",
    "html",
    "markdown",
    "plot_choices",
    "question",
    "steady_accuracy",
    "yardstick",
]
