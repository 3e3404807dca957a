"""The rounds between two evaluations and the evaluation, as one compiled program."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, LocalTraining, Plan
from fedcode_jax.clients.mesh import lay, replicated, spread
from fedcode_jax.clients.plan import PRECISIONS
from fedcode_jax.clients.training import Weights
from fedcode_jax.simulation.evaluation import EvaluationData, Score, evaluate
from fedcode_jax.simulation.memory import check_room, compiled_memory
from fedcode_jax.simulation.round import make_round
from fedcode_jax.simulation.state import RoundMetrics, Settings, State, Traffic, initial_state


class SegmentOutput(NamedTuple):
    """What a segment reports.

    Attributes:
      metrics: of its rounds, with a leading axis of rounds.
      score: of the server's weights after the last round.
      deployed: of the model that clients would receive then.
      traffic: the messages of its rounds, with a leading axis of rounds, if they are kept.
    """

    metrics: RoundMetrics
    score: Score
    deployed: Score
    traffic: Traffic | None = None


@dataclasses.dataclass
class Program:
    """An experiment, ready to run: its data on the device and its compiled segments.

    Attributes:
      algorithm: what is sent and how it is merged.
      training: what a client does, with the model as the plan lowers it.
      model: the module that is evaluated: the same model, natively lowered.
      plan: how the clients run.
      data: the clients' data.
      test: the test set, cut for the devices of the plan.
      settings: what else the experiment is: seed, schedule, learning rate, network.
      cohort: M, clients in a round.
      max_size: the largest number of samples of any client.
      sketched: whether uploads carry a sketch of the weights.
      keep_traffic: whether segments give the messages of their rounds.
      compile_seconds: spent compiling so far.
      compilations: segments compiled so far.
      segments: the compiled ones, by their number of rounds.
      memory_bytes: that the largest of them takes on a device, by the compiler's account.
    """

    algorithm: Algorithm
    training: LocalTraining
    model: Any
    plan: Plan
    data: ClientData
    test: EvaluationData
    settings: Settings
    cohort: int
    max_size: int
    sketched: bool = False
    keep_traffic: bool = False
    # Not carried over by dataclasses.replace: another setting is another program.
    compile_seconds: float = dataclasses.field(default=0.0, init=False)
    compilations: int = dataclasses.field(default=0, init=False)
    memory_bytes: int = dataclasses.field(default=0, init=False)
    segments: dict[int, Any] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Lays the clients' data and the settings on every device."""
        everywhere = replicated(self.plan.devices)
        self.data = lay(self.data, everywhere)
        self.settings = lay(jax.tree.map(np.asarray, self.settings), everywhere)

    @property
    def sizes(self) -> list[int]:
        """Samples of every client."""
        return np.asarray(self.data.sizes).tolist()

    def start(self, weights: Weights) -> State:
        """The state before the first round, from the initial variables of the model."""
        first = self.first_state
        shardings = self._shardings(jax.eval_shape(first, weights))
        weights = lay(weights, replicated(self.plan.devices))
        return jax.jit(first, out_shardings=shardings)(weights)

    def first_state(self, weights: Weights) -> State:
        """``start`` as a function to be traced."""
        clients = self.data.sizes.shape[0]
        return initial_state(self.algorithm, weights, clients, sketched=self.sketched)

    def _shardings(self, state: State) -> State:
        """Where a state lies: what clients keep is spread, if the devices divide their number."""
        devices, clients = self.plan.devices, self.data.sizes.shape[0]
        everywhere = replicated(devices)
        apart = spread(devices) if clients % devices == 0 else everywhere
        return State(
            *(
                jax.tree.map(lambda _, where=where: where, part)
                for part, where in zip(
                    state, (everywhere, everywhere, apart, apart, everywhere, apart), strict=True
                )
            )
        )

    def advance(self, state: State, num_rounds: int) -> tuple[State, SegmentOutput]:
        """Runs rounds and evaluates after the last one.

        One program is compiled for each ``num_rounds``, at its first use.

        Args:
          state: where to begin; its buffers are donated.
          num_rounds: at least 1.

        Returns:
          The new state, and what happened.
        """
        everywhere = replicated(self.plan.devices)
        shardings = self._shardings(state)
        state = lay(state, shardings)
        if num_rounds not in self.segments:
            began = time.perf_counter()
            with jax.default_matmul_precision(PRECISIONS[self.plan.precision]):
                lowered = jax.jit(
                    self.segment(num_rounds),
                    donate_argnums=0,
                    out_shardings=(shardings, everywhere),
                ).lower(state, self.data, self.test, self.settings)
                compiled = lowered.compile(self.plan.compiler_options)
            check_room(compiled, self.plan.chunk)
            self.segments[num_rounds] = compiled
            account = compiled_memory(compiled) or {"total": 0}
            self.memory_bytes = max(self.memory_bytes, account["total"])
            self.compile_seconds += time.perf_counter() - began
            self.compilations += 1
        return self.segments[num_rounds](state, self.data, self.test, self.settings)

    def segment(self, num_rounds: int) -> Callable[..., tuple[State, SegmentOutput]]:
        """Rounds and an evaluation after the last: (state, data, test, settings) -> the same.

        Pure, to be jitted and vmapped.
        """
        run_round = make_round(
            self.algorithm,
            self.training,
            self.plan,
            cohort=self.cohort,
            max_size=self.max_size,
            sketched=self.sketched,
        )

        def segment(
            state: State, data: ClientData, test: EvaluationData, settings: Settings
        ) -> tuple[State, SegmentOutput]:
            def body(state: State, _: None) -> tuple[State, tuple]:
                state, metrics, traffic = run_round(state, data, settings)
                return state, (metrics, traffic if self.keep_traffic else None)

            state, (metrics, traffic) = jax.lax.scan(body, state, length=num_rounds)
            weights, deployed = self.algorithm.report(state.server, state.store)
            devices = self.plan.devices
            score = evaluate(self.model, weights, test, devices)
            deployed_score = score
            if deployed is not None:
                deployed_score = evaluate(self.model, deployed, test, devices)
            return state, SegmentOutput(metrics, score, deployed_score, traffic)

        return segment
