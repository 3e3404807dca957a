"""The first rounds of a run, done once more in float64, and held against the program."""

import dataclasses
from typing import Any

import jax
import numpy as np

from fedcode_jax import randomness
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.config.algorithms import FedAvg
from fedcode_jax.errors import ConfigError
from fedcode_jax.shadow import coded, floats
from fedcode_jax.shadow.evaluating import Evaluating
from fedcode_jax.shadow.findings import EPS, Findings, Pair, flat
from fedcode_jax.shadow.optimizers import by_name, learning_rate
from fedcode_jax.shadow.round import Round, rows
from fedcode_jax.shadow.training import Training
from fedcode_jax.simulation import Program, SegmentOutput, State, WireCheck, processes
from fedcode_jax.simulation.opening import opened

CODED = ("fedcode", "skip", "weight_clustering")
FLOATS = ("fedavg_every", "local_only")
_SLOPE = 1e-4  # by which a central difference may differ, as a share of the gradient's length


class Check:
    """Does rounds once more in float64, each from where the program began it.

    Attributes:
      rounds: how many are yet to be checked.
      findings: what was compared.
    """

    def __init__(self, program: Program, config: ExperimentConfig, rounds: int) -> None:
        """Of a run.

        Args:
          program: what runs.
          config: of it.
          rounds: that are checked.

        Raises:
          ConfigError: the check does not know the algorithm, or a part of it.
        """
        _check_covered(config)
        self.rounds, self.findings = rounds, Findings()
        self._program, self._config = program, config
        training = dataclasses.replace(program.training, model=program.model)
        data = jax.tree.map(np.asarray, program.data)
        local = config.local
        known = by_name(local.optimizer, local.optimizer_args or {}, local.weight_decay)
        self._training = Training(training, program.algorithm.objective, data, known)
        test = jax.tree.map(np.asarray, program.test)
        self._evaluating = Evaluating(program.model, test, training.loss)
        self._wire = WireCheck()

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Of each quantity how often it was compared, its largest difference and the bound."""
        return self.findings.figures

    @randomness.standardised
    def take(self, before: State, after: State, output: SegmentOutput) -> None:
        """Checks one round.

        Args:
          before: the state that it began with, on the host.
          after: the state that it left.
          output: its metrics, messages and works, and the scores after it.

        Raises:
          CheckError: something differs by more than its bound.
          WireCheckError: as of ``WireCheck``.
        """
        assert output.traffic is not None
        self._wire.take(output.traffic, output.metrics, int(after.round))
        found = jax.device_get((after, output))
        after, output = found
        number = int(after.round)
        round = Round(number, before, after, rows(output.metrics, 0), rows(output.traffic, 0))
        self._local(round)
        name = self._config.algorithm.name
        if name in CODED:
            coded.check(self.findings, round, self._config.algorithm)
        elif not hasattr(before.server, "optimizer"):
            floats.check_weights(self.findings, round)
        else:
            floats.check_changes(self.findings, round, self._config.algorithm)
        models, deployed = jax.device_get(
            jax.jit(self._program.algorithm.report)(after.server, after.store)
        )
        self._evaluating.check(self.findings, models, output.score, "server", round.name)
        if deployed is not None:
            self._evaluating.check(self.findings, deployed, output.deployed, "deployed", round.name)
        self.rounds -= 1
        self.findings.raise_if_too_large()

    def _local(self, round: Round) -> None:
        """Local training of every client that trained, and their mean loss."""
        config, program, metrics = self._config.local, self._program, round.metrics
        rate = learning_rate(config.learning_rate, config.decay, round.number, self._config.rounds)
        keys = _keys(program, round.before)
        last = config.fix_norm_after
        fixed = None if last is None else round.number > last
        losses, samples = [], []
        for place in round.places:
            client, work, where = int(metrics.clients[place]), round.work(place), round.of(place)
            key = keys[place]
            batches = self._training.batches(client, key)
            self.findings.add("local steps", abs(len(batches) - int(work.steps)), 0.0, where)
            apart = abs(float(work.learning_rate) / rate - 1) if rate else 0.0
            self.findings.add("learning rate", apart, 4 * EPS, where)
            start, carried = work.start.weights, work.start.carried
            given = (start, carried, batches, rate, key, fixed)
            pair = Pair(*(self._training.trained(*given, p) for p in (np.float64, np.float32)))
            for name in sorted(work.trained):
                quantity = "trained weights" if name == "params" else f"trained {name}"
                own = Pair(pair.double[0][name], pair.single[0][name])
                self.findings.near(quantity, work.trained[name], own, start[name], where)
            losses.append(Pair(pair.double[1], pair.single[1]))
            samples.append(int(metrics.num_samples[place]))
            if batches and len(losses) == 1 and self._program.algorithm.objective.view is None:
                self._slope(round, work, batches[0], fixed, where)
        if losses and sum(samples):
            mean = Pair(*(np.average(each, weights=samples) for each in zip(*losses, strict=True)))
            self.findings.near("training loss", metrics.train_loss, mean, 0.0, round.name)

    def _slope(self, round: Round, work: Any, batch: Any, fixed: bool | None, where: str) -> None:
        """Holds the gradient of a batch against the loss itself, along the way that was trained."""
        params, trained = work.start.weights["params"], work.trained["params"]
        way = jax.tree.map(lambda a, b: b.astype(np.float64) - a, params, trained)
        length = np.linalg.norm(flat(way)) or 1.0
        direction = jax.tree.map(lambda leaf: leaf / length, way)
        given = (work.start.weights, work.start.carried, batch, direction, fixed)
        by_gradient, by_loss = self._training.slopes(*given)
        bound = _SLOPE * max(abs(by_loss), 1e-6)
        self.findings.add("gradient", abs(by_gradient - by_loss), bound, where)


def _keys(program: Program, before: State) -> Any:
    """The keys that a round's clients train by, drawn as the program draws them."""

    def keys(state: State, data: Any, settings: Any) -> jax.Array:
        given = (program.algorithm, program.training, program.plan, program.cohort)
        found = opened(*given, state, data, settings).keys
        return jax.vmap(jax.random.fold_in, (0, None))(found, 0)  # 1 is for uploads

    return jax.jit(keys)(before, program.data, program.settings)


def _check_covered(config: ExperimentConfig) -> None:
    """Refuses, before anything runs, what the check cannot do once more."""
    algorithm = config.algorithm
    if processes.several():
        raise ConfigError("check: it looks at one process; run without --distributed, or without")
    if not (isinstance(algorithm, FedAvg) or algorithm.name in (*CODED, *FLOATS)):
        raise ConfigError(
            f"check: the algorithm {algorithm.name!r} is not one that is done once more in float64 "
            f"({', '.join((*CODED, *FLOATS))}, fedavg and its presets); run without --check"
        )
    block = getattr(algorithm, "block", 1)
    if block > 1:
        raise ConfigError(
            f"check: algorithm.block {block} cannot be checked; the check knows "
            "codebooks of single values: use 1, or run without --check"
        )
    rule = getattr(algorithm, "aggregation", None)
    beside = {
        "algorithm.aggregation": rule is not None and rule.name != "mean",
        "privacy.clip": config.privacy.clip is not None,
        "faults": config.faults.on,
    }
    for setting in (name for name, is_on in beside.items() if is_on):
        raise ConfigError(
            f"check: {setting} is set, which the check does not do once more in float64; run "
            "without --check, or leave it out"
        )
    floats.check_step(algorithm)
