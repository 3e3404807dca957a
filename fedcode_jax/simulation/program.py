"""An experiment ready to run: what it is, on the devices, and what has been compiled of it."""

import dataclasses
import functools
import time
from typing import Any

import jax
import numpy as np

from fedcode_jax import randomness
from fedcode_jax.algorithms import Algorithm
from fedcode_jax.clients import ClientData, LocalTraining, Plan
from fedcode_jax.clients.losses import PerSample
from fedcode_jax.clients.training import Weights
from fedcode_jax.devices import (
    check_room,
    compiled_memory,
    lay,
    replicated,
    spread,
    told_if_exhausted,
)
from fedcode_jax.errors import ConfigError
from fedcode_jax.simulation.evaluation_data import EvaluationData
from fedcode_jax.simulation.round import make_round
from fedcode_jax.simulation.segment import Segment, SegmentOutput, make_segment
from fedcode_jax.simulation.state import Settings, State, initial_state
from fedcode_jax.targets import Machine


@dataclasses.dataclass
class Compiled:
    """What has been compiled of a program, and what it cost; no part of what the program is.

    Attributes:
      segments: by number of rounds, and whether their traffic and the clients' works are kept.
      seconds: spent compiling.
      memory_bytes: that the largest of them takes on a device, by the compiler's account.
    """

    segments: dict[tuple[int, bool, bool], Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    memory_bytes: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """An experiment, ready to run, with its data on the devices.

    ``dataclasses.replace`` makes another program, of which nothing is compiled; ``with_inputs``
    one that shares what is compiled.

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
      metrics: names, and functions (logits f32[B, K], labels i32[B]) -> f32[B] or bool[B], of
        which the means over the test set are reported, as ``test_<name>``.
      client_losses: whether evaluations tell the loss of each client.
      machine: the one that it is made for, if that is not at hand: it can then be lowered and
        compiled, not run, and its data stay on the host.
      compiled: what has been compiled so far.
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
    metrics: tuple[tuple[str, PerSample], ...] = ()
    client_losses: bool = False
    machine: Machine | None = None
    compiled: Compiled = dataclasses.field(default_factory=Compiled, init=False)

    @randomness.standardised
    def __post_init__(self) -> None:
        """Lays the clients' data and the settings on every device."""
        if self.machine is not None:
            return
        everywhere = self._replicated
        settings = jax.tree.map(np.asarray, self.settings)
        for name, value in (("data", self.data), ("settings", settings)):
            object.__setattr__(self, name, lay(value, everywhere))

    def with_inputs(self, **changes: Any) -> "Program":
        """The program on other inputs of the same shapes; what is compiled serves both.

        Args:
          **changes: ``data``, ``test`` or ``settings``; or a ``plan`` that differs in its reason
            alone.

        Returns:
          The other program.

        Raises:
          TypeError: another change.
          ValueError: data of a client with more samples than the program is made for.
        """
        unfit = set(changes) - {"data", "test", "settings", "plan"}
        plan = changes.get("plan", self.plan)
        if unfit or dataclasses.replace(plan, reason=self.plan.reason) != self.plan:
            raise TypeError(f"{sorted(unfit) or 'plan'} would change what is compiled")
        largest = int(np.max(changes["data"].sizes)) if "data" in changes else 0
        if largest > self.max_size:
            raise ValueError(
                f"data: a client has {largest} samples, and the program is for at most "
                f"{self.max_size}; use dataclasses.replace with another max_size"
            )
        other = dataclasses.replace(self, **changes)
        object.__setattr__(other, "compiled", self.compiled)
        return other

    @property
    def _replicated(self) -> Any:
        """All of it on every device of the plan."""
        return replicated(self.plan.devices, machine=self.machine)

    def _check_here(self) -> None:
        if self.machine is not None:
            raise ConfigError(
                f"machine: {self.machine.name} is not here, and the program is made for it; it can "
                "be lowered and compiled; build one without a machine to run it"
            )

    @property
    def sizes(self) -> list[int]:
        """Samples of every client."""
        return np.asarray(self.data.sizes).tolist()

    @randomness.standardised
    def start(self, weights: Weights) -> State:
        """The state before the first round, from the initial variables of the model."""
        self._check_here()
        first = self.first_state
        shardings = self.shardings(jax.eval_shape(first, weights))
        weights = lay(weights, self._replicated)
        return jax.jit(first, out_shardings=shardings)(weights)

    @randomness.standardised
    def first_state(self, weights: Weights) -> State:
        """``start`` as a function to be traced."""
        clients = self.data.sizes.shape[0]
        return initial_state(self.algorithm, weights, clients, sketched=self.sketched)

    def shardings(self, state: State) -> State:
        """Where a state lies: what clients keep is spread, if the devices divide their number."""
        devices, clients = self.plan.devices, self.data.sizes.shape[0]
        everywhere = self._replicated
        divided = clients % devices == 0
        apart = spread(devices, machine=self.machine) if divided else everywhere
        own = ("store", "missed", "known")
        parts = {
            name: jax.tree.map(lambda _, where=apart if name in own else everywhere: where, part)
            for name, part in state._asdict().items()
        }
        return State(**parts)

    @randomness.standardised
    def advance(
        self, state: State, num_rounds: int, *, traffic: bool = False, works: bool = False
    ) -> tuple[State, SegmentOutput]:
        """Runs rounds and evaluates after the last one.

        One program is compiled for each ``num_rounds``, with and without traffic, at its first use.

        Args:
          state: where to begin; its buffers are donated.
          num_rounds: 0 evaluates alone.
          traffic: whether the output holds the messages of the rounds.
          works: whether it holds, with the messages, what each client started from and trained.

        Returns:
          The new state, and what happened.

        Raises:
          ConfigError: the program is made for a machine that is not here.
        """
        self._check_here()
        shardings = self.shardings(state)
        state = lay(state, shardings)
        segments = self.compiled.segments
        kind = num_rounds, traffic, works
        kept = {"traffic": traffic, "works": works}
        if kind not in segments:
            began = time.perf_counter()
            with told_if_exhausted(self.plan.chunk):
                compiled = self.compiled_with(self.plan.chunk, state, num_rounds, **kept)
            smaller = functools.partial(
                self.compiled_with, state=state, num_rounds=num_rounds, **kept
            )
            check_room(compiled, self.plan.chunk, smaller)
            segments[kind] = compiled
            account = compiled_memory(compiled) or {"total": 0}
            self.compiled.memory_bytes = max(self.compiled.memory_bytes, account["total"])
            self.compiled.seconds += time.perf_counter() - began
        return segments[kind](state, self.data, self.test, self.settings)

    def compiled_with(self, chunk: int, state: State, num_rounds: int, **kept: bool) -> Any:
        """What ``advance`` runs, were so many clients side by side.

        Args:
          chunk: of the plan.
          state: as of ``lowered``.
          num_rounds: likewise.
          **kept: ``traffic`` and ``works``, as of ``advance``.
        """
        program = self
        if chunk != self.plan.chunk:
            plan = dataclasses.replace(self.plan, chunk=chunk)
            program = dataclasses.replace(self, plan=plan)
        return program.lowered(state, num_rounds, **kept).compile(self.plan.compiler_options)

    @randomness.standardised
    def lowered(
        self, state: State, num_rounds: int, *, traffic: bool = False, works: bool = False
    ) -> Any:
        """The program of ``advance``, lowered for the machine that it is made for.

        Args:
          state: where to begin; for a machine that is not here its shapes are enough.
          num_rounds: at least 1.
          traffic: whether the output holds the messages of the rounds.
          works: as of ``advance``.

        Returns:
          A ``jax.stages.Lowered``.
        """
        shardings, everywhere = self.shardings(state), self._replicated
        segment = jax.jit(
            self.segment(num_rounds, traffic=traffic, works=works),
            donate_argnums=0,
            out_shardings=(shardings, everywhere),
        )
        inputs = (state, self.data, self.test, self.settings)
        if self.machine is None:
            return segment.lower(*inputs)
        data, settings = jax.tree.map(lambda _: everywhere, (self.data, self.settings))
        test = EvaluationData.shardings(self.plan.devices, self.machine)
        return self.machine.lower(segment, inputs, (shardings, data, test, settings))

    def segment(self, num_rounds: int, *, traffic: bool = False, works: bool = False) -> Segment:
        """Rounds and an evaluation after the last: (state, data, test, settings) -> the same.

        Pure, to be jitted and vmapped. All but local training is in full float32.
        """
        run_round = make_round(
            self.algorithm,
            self.training,
            self.plan,
            cohort=self.cohort,
            max_size=self.max_size,
            sketched=self.sketched,
            traffic=traffic,
            works=works,
        )
        segment = make_segment(
            run_round,
            self.algorithm,
            self.model,
            self.plan,
            num_rounds,
            traffic=traffic,
            loss=self.training.loss,
            metrics=self.metrics,
            client_losses=self.client_losses,
        )

        @randomness.standardised
        def exact(*inputs: Any) -> tuple[State, SegmentOutput]:
            with jax.default_matmul_precision("float32"):
                return segment(*inputs)

        return exact
