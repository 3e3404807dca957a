"""The flax model of a task, from fedcode_jax, and what a client does with it."""

from typing import Any

import jax.numpy as jnp
from task import Task

from fedcode_jax import models
from fedcode_jax.clients import LocalTraining, optimizer


def training(task: Task, lowering: str) -> LocalTraining:
    """What a client does in a task, with convolutions lowered as the plan says."""
    meta = task.meta
    momentum = {"momentum": meta["momentum"]} if meta["momentum"] else {}
    return LocalTraining(
        model=model(task, lowering),
        optimizer=optimizer("sgd", meta["learning_rate"], arguments=momentum),
        epochs=meta["epochs"],
        batch_size=meta["batch_size"],
    )


def model(task: Task, lowering: str = "native") -> Any:
    """The module of a task."""
    meta = task.meta
    if meta["model"] == "cnn_pfl":
        return models.cnn_pfl(meta["classes"], dropout=meta["dropout"], lowering=lowering)
    return models.make(meta["model"], meta["classes"], lowering=lowering)


def variables(task: Task) -> dict[str, Any]:
    """The first weights of a task as flax nests them."""
    nested: dict[str, Any] = {}
    for path, leaf in task.weights.items():
        *folders, last = path.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = jnp.asarray(leaf)
    return nested
