"""The trained model of a run, from its folder."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fedcode_jax import algorithms, randomness, results
from fedcode_jax import config as configs
from fedcode_jax.algorithms.portable import Portable, floats
from fedcode_jax.errors import CheckpointError, ConfigError
from fedcode_jax.experiment.blueprint import Blueprint
from fedcode_jax.experiment.given import named
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.simulation import State, checkpoint, initial_state


class Trained(NamedTuple):
    """What a run has trained.

    Attributes:
      blueprint: of the run.
      record: of the round after which it is, from ``metrics.jsonl``.
      server: the server's variables.
      deployed: those that clients would receive.
      portable: these, as sections that say all by themselves.
    """

    blueprint: Blueprint
    record: dict[str, Any]
    server: Any
    deployed: Any
    portable: Portable


def trained(
    folder: str | os.PathLike[str],
    number: int | None = None,
    given: Mapping[str, Any] | None = None,
) -> Trained:
    """Reads the trained model of a run from a checkpoint; needs what ``--resume`` needs.

    Args:
      folder: of the run.
      number: the round after which the checkpoint was made; None for the latest.
      given: the parts that were given in Python, as to ``run``.

    Returns:
      The model, on the host.

    Raises:
      CheckpointError: no folder of a run, no checkpoint, or one that cannot be read.
      ConfigError: a part of the run that is not here; an algorithm without a common model.
      DataError: the run's data set cannot be read.
    """
    folder, given = pathlib.Path(folder), dict(given or {})
    files = results.read(folder)
    path = _checkpoint(folder, number)
    config = named(configs.from_yaml(files.config_text), given)
    blueprint = Blueprint.of(config, Parts(given))

    def first(weights: Any) -> State:
        clients, sketched = blueprint.partition.num_clients, blueprint.sketched
        return initial_state(blueprint.algorithm, weights, clients, sketched=sketched)

    state = checkpoint.read(path, jax.eval_shape(first, blueprint.shapes))
    done = {"round": int(state.round)}
    record = next((r for r in files.records if r["round"] == done["round"]), done)
    return Trained(blueprint, record, *_models(blueprint.algorithm, state))


def _checkpoint(folder: pathlib.Path, number: int | None) -> pathlib.Path:
    found = checkpoint.rounds(folder / results.CHECKPOINTS)
    if not found:
        raise CheckpointError(
            f"{folder}: holds no checkpoint: the run has not come so far, or is one of a sweep "
            "without checkpoint_every; run it by itself: fedcode run --config "
            f"{folder / 'config.yaml'} --out FOLDER"
        )
    number = max(found) if number is None else number
    if number not in found:
        known = ", ".join(map(str, found))
        raise ConfigError(f"round: {number} has no checkpoint in {folder}; there are {known}")
    return found[number]


@randomness.standardised
def _models(algorithm: algorithms.Algorithm, state: State) -> tuple[Any, Any, Portable]:
    """The server's variables, the deployed ones, and the sections that stand for these."""

    def models(server: Any, store: Any) -> tuple[Any, Any, Portable]:
        weights, deployed = algorithm.report(server, store)
        if {leaf.shape[0] for leaf in jax.tree.leaves(weights)} != {1}:
            raise ConfigError(
                "algorithm.name: it trains a model for each client and none that they share, so "
                "that there is none to take; run another, such as fedavg"
            )
        weights, deployed = jax.tree.map(lambda leaf: leaf[0], (weights, deployed))
        if algorithm.portable is not None:
            portable = algorithm.portable(server)
        else:
            portable = floats(weights if deployed is None else deployed)
        return weights, portable.weights, portable

    with jax.default_matmul_precision("float32"):
        return jax.tree.map(np.asarray, jax.jit(models)(state.server, state.store))
