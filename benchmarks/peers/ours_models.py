"""The flax model of a task, from fedcode_jax, and what a client does with it."""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
from task import Task, report

from fedcode_jax import models
from fedcode_jax.clients import LocalTraining, optimizer
from fedcode_jax.simulation import EvaluationData, evaluate


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


def report_on(
    peer: str, task: Task, options: argparse.Namespace, server: Any, devices: int = 1, **more: Any
) -> None:
    """Evaluates the server's weights, with a leading axis of 1, and ends as ``report`` does."""
    stored = (task.arrays[name] for name in ("test_x", "test_y", "mean", "std"))
    test, module = EvaluationData.from_arrays(*stored, devices=devices), model(task)
    score = jax.jit(lambda w, test: evaluate(module, w, test, devices))(server, test)
    report(
        peer,
        ("fedcode_jax", "jax", "jaxlib", "flax"),
        options,
        test_loss=score.loss,
        test_accuracy=score.accuracy,
        **more,
    )
