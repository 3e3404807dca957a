"""The rounds between two evaluations and the evaluation, as one pure function."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, Plan
from fedcode_jax.clients.losses import PerSample, cross_entropy
from fedcode_jax.clients.training import Weights
from fedcode_jax.simulation.evaluation import Score, evaluate_each
from fedcode_jax.simulation.evaluation_data import EvaluationData
from fedcode_jax.simulation.personal import PersonalScore, evaluate_personal
from fedcode_jax.simulation.round import Round
from fedcode_jax.simulation.state import RoundMetrics, Settings, State, Traffic

Segment = Callable[[State, ClientData, EvaluationData, Settings], tuple[State, "SegmentOutput"]]


class SegmentOutput(NamedTuple):
    """What a segment reports.

    Attributes:
      metrics: of its rounds, with a leading axis of rounds.
      score: of the server's weights after the last round.
      deployed: of the model that clients would receive then.
      traffic: the messages of its rounds, with a leading axis of rounds, if they are kept.
      personal: of each client's own model then, if clients have models of their own.
    """

    metrics: RoundMetrics
    score: Score
    deployed: Score
    traffic: Traffic | None = None
    personal: PersonalScore | None = None


def make_segment(
    run_round: Round,
    algorithm: Algorithm,
    model: Any,
    plan: Plan,
    num_rounds: int,
    *,
    traffic: bool,
    loss: PerSample = cross_entropy,
    metrics: tuple[tuple[str, PerSample], ...] = (),
    client_losses: bool = False,
) -> Segment:
    """Rounds and an evaluation after the last.

    Args:
      run_round: one round.
      algorithm: that reports the models to evaluate.
      model: the module that is evaluated.
      plan: how the clients run; its devices share the test set.
      num_rounds: 0 evaluates alone.
      traffic: whether the messages are given.
      loss: that the test set is scored with.
      metrics: names and functions of further figures, as of ``evaluate``.
      client_losses: whether scores have the loss of each client.

    Returns:
      (state, data, test, settings) -> (state, what happened): pure, to be jitted and vmapped.
    """

    def scored(groups: Sequence[Weights], test: EvaluationData) -> list[Score]:
        further: Any = {"loss": loss, "metrics": metrics, "client_losses": client_losses}
        return evaluate_each(model, groups, test, plan.devices, **further)

    def segment(
        state: State, data: ClientData, test: EvaluationData, settings: Settings
    ) -> tuple[State, SegmentOutput]:
        def body(state: State, _: None) -> tuple[State, tuple]:
            state, metrics, messages = run_round(state, data, settings)
            return state, (metrics, messages if traffic else None)

        state, (metrics, messages) = jax.lax.scan(body, state, length=num_rounds)
        weights, deployed = algorithm.report(state.server, state.store)
        groups = [weights] if deployed is None else [weights, deployed]
        scores = scored(groups, test)
        personal = None
        if algorithm.personal is not None:
            personal = evaluate_personal(
                *(model, algorithm.personal, state.server, state.store, test, plan.devices),
                loss=loss,
            )
        return state, SegmentOutput(metrics, scores[0], scores[-1], messages, personal)

    return segment
