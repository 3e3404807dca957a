"""Accuracy and loss of a model on the test set, in NumPy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedcode_jax.shadow.findings import EPS, FACTOR, Findings, Pair
from fedcode_jax.shadow.interpreter import traced
from fedcode_jax.simulation import EvaluationData
from fedcode_jax.simulation.evaluation import Score


class _Found(NamedTuple):
    loss: Pair
    accuracy: float
    unsure: float  # share of samples whose largest logits rounding could change places


class Evaluating:
    """Of one model and test set."""

    def __init__(self, model: Any, test: EvaluationData, loss: Callable[..., Any]) -> None:
        """Of a program; its test set on the host."""
        self.model, self.test, self.loss = model, test, loss
        self._runs: dict[tuple[int, ...], Callable[..., Any]] = {}

    def check(self, findings: Findings, models: Any, score: Score, name: str, where: str) -> None:
        """Compares a score with that of the same models, of which it is the mean.

        Args:
          findings: that are added to.
          models: variables with a leading axis of models.
          score: the program's.
          name: whose they are.
          where: the round.
        """
        count = len(jax.tree.leaves(models)[0])
        found = [self._of(jax.tree.map(lambda leaf, i=i: leaf[i], models)) for i in range(count)]
        double = float(np.mean([each.loss.double for each in found]))
        single = float(np.mean([each.loss.single for each in found]))
        findings.near(f"test loss, {name}", score.loss, Pair(double, single), 0.0, where)
        accuracy = float(np.mean([each.accuracy for each in found]))
        unsure = float(np.mean([each.unsure for each in found]))
        apart = abs(float(score.accuracy) - accuracy)
        findings.add(f"test accuracy, {name}", apart, unsure + FACTOR * EPS, where)

    def _of(self, weights: Any) -> _Found:
        test = self.test
        losses: dict[Any, list[np.ndarray]] = {np.float64: [], np.float32: []}
        right, unsure = 0, 0
        for x, y, mask in zip(test.x, test.y, test.mask, strict=True):
            x, y = x[mask], y[mask]
            logits = {precision: self._logits(weights, x, y, precision) for precision in losses}
            for precision, found in logits.items():
                losses[precision].append(found[1])
            double, single = logits[np.float64][0], logits[np.float32][0]
            right += int(np.sum(np.argmax(double, -1) == y))
            moved = np.max(np.abs(double - single), -1) + EPS * np.max(np.abs(double), -1)
            two = np.partition(double, -2, axis=-1)[:, -2:] if double.shape[-1] > 1 else None
            if two is not None:
                unsure += int(np.sum(two[:, 1] - two[:, 0] <= 2 * FACTOR * moved))
        means = [float(np.concatenate(each).mean()) for each in losses.values()]
        total = max(int(np.sum(test.mask)), 1)
        return _Found(Pair(*means), right / total, unsure / total)

    def _logits(self, weights: Any, x: np.ndarray, y: np.ndarray, precision: Any) -> Any:
        """Logits and losses of a batch."""

        def apply(weights: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = self.model.apply(weights, x, train=False).astype(jnp.float32)
            return logits, self.loss(logits, y)

        mean, std = (np.asarray(each, precision) for each in (self.test.mean, self.test.std))
        x = (x.astype(precision) - mean) / std
        key = x.shape
        if key not in self._runs:
            self._runs[key] = traced(apply, weights, x.astype(np.float32), y)
        return self._runs[key](precision, weights, x, y)
