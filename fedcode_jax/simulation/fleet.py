"""Several experiments of one program, side by side and over all devices."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fedcode_jax import randomness
from fedcode_jax.clients import ClientData
from fedcode_jax.clients.training import Weights
from fedcode_jax.devices import check_room, mesh
from fedcode_jax.simulation.evaluation_data import EvaluationData
from fedcode_jax.simulation.program import Program
from fedcode_jax.simulation.segment import SegmentOutput
from fedcode_jax.simulation.state import Settings, State

AXIS = "experiments"


class Member(NamedTuple):
    """What makes one experiment of a fleet, in shapes that all have in common.

    Attributes:
      weights: the initial variables of the model.
      data: the clients' data.
      test: the test set.
      settings: seed, schedule, learning rate, network.
    """

    weights: Weights
    data: ClientData
    test: EvaluationData
    settings: Settings


@dataclasses.dataclass
class Fleet:
    """Experiments that run as one program: over the devices, and side by side on each.

    Attributes:
      program: of each experiment, planned for one device; its own data, test set and settings are
        not used.
      devices: that share the experiments.
      abreast: experiments side by side on a device, under vmap; 1 for one after another, which is
        faster on a CPU.
      one_dataset: all have the same samples, which then lie on a device once.
      compile_seconds: spent compiling so far.
    """

    program: Program
    devices: int = 1
    abreast: int = 1
    one_dataset: bool = True
    compile_seconds: float = dataclasses.field(default=0.0, init=False)
    _compiled: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False)

    @property
    def size(self) -> int:
        """Experiments that run at once."""
        return self.devices * self.abreast

    @randomness.standardised
    def start(self, members: Sequence[Member]) -> tuple[State, "Crew"]:
        """The states before the first round, and what the experiments are made of, on the devices.

        Args:
          members: ``size`` of them.

        Returns:
          The states with a leading axis of experiments, and the argument of ``advance``.
        """
        crew = Crew.of(members, self._mesh, self.one_dataset)
        key = ("start", crew.shape)

        def first(member: Member) -> State:
            return self.program.first_state(member.weights)

        state = self._call(key, lambda _, member: (None, first(member)), None, crew)[1]
        return state, crew

    def laid(self, states: Sequence[State]) -> State:
        """States on the host as one on the devices, such as ``start`` gives.

        Args:
          states: ``size`` of them.
        """
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
        return jax.device_put(stacked, NamedSharding(self._mesh, PartitionSpec(AXIS)))

    @randomness.standardised
    def advance(
        self, state: State, crew: "Crew", evaluations: int, rounds: int
    ) -> tuple[State, SegmentOutput]:
        """Runs rounds and evaluations of every experiment.

        Args:
          state: with a leading axis of experiments; its buffers are donated.
          crew: as ``start`` gave it.
          evaluations: how many.
          rounds: before each of them.

        Returns:
          The new states, and what happened, with leading axes of experiments and evaluations.
        """
        segment = self.program.segment(rounds)

        def run(state: State, member: Member) -> tuple[State, SegmentOutput]:
            def body(state: State, _: None) -> tuple[State, SegmentOutput]:
                return segment(state, member.data, member.test, member.settings)

            return jax.lax.scan(body, state, length=evaluations)

        return self._call((evaluations, rounds, crew.shape), run, state, crew)

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return mesh(self.devices, AXIS)

    def _call(self, key: Any, run: Callable, state: State | None, crew: "Crew") -> Any:
        """Calls ``run`` for each experiment, compiled once for each key."""
        if key not in self._compiled:
            began = time.perf_counter()
            self._compiled[key] = self._compile(run, state, crew)
            self.compile_seconds += time.perf_counter() - began
        return self._compiled[key](state, crew.shared, crew.own)

    def _compile(self, run: Callable, state: State | None, crew: "Crew") -> Any:
        def on_device(state: State | None, shared: Any, own: Any) -> Any:
            def one(state: State | None, own: Any) -> Any:
                return run(state, crew.member(shared, own))

            if self.abreast > 1:
                return jax.vmap(one)(state, own)
            first = lambda leaf: leaf[0]  # noqa: E731
            done = one(jax.tree.map(first, state), jax.tree.map(first, own))
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], done)

        apart = PartitionSpec(AXIS)
        mapped = jax.shard_map(
            on_device,
            mesh=self._mesh,
            in_specs=(apart, PartitionSpec(), apart),
            out_specs=apart,
            check_vma=False,
        )
        lowered = jax.jit(mapped, donate_argnums=0).lower(state, crew.shared, crew.own)
        plan = dataclasses.replace(self.program.plan, devices=self.devices)
        compiled = lowered.compile(plan.compiler_options)
        check_room(compiled, self.abreast)
        return compiled


@dataclasses.dataclass(frozen=True)
class Crew:
    """The members of a fleet on its devices: what they share once, the rest stacked.

    Attributes:
      shared: leaves that are the same in all members, on every device.
      own: the other leaves, with a leading axis of experiments.
      is_shared: for each leaf of a member, whether it is among the shared.
      treedef: of a member.
    """

    shared: tuple[jax.Array, ...]
    own: tuple[jax.Array, ...]
    is_shared: tuple[bool, ...]
    treedef: Any

    @classmethod
    def of(cls, members: Sequence[Member], mesh: Mesh, one_dataset: bool) -> "Crew":
        """Lays members on the devices of a mesh."""
        columns = list(zip(*(jax.tree.leaves(member) for member in members), strict=True))
        is_shared = tuple(jax.tree.leaves(_shareable(members[0], one_dataset)))
        everywhere = NamedSharding(mesh, PartitionSpec())
        apart = NamedSharding(mesh, PartitionSpec(AXIS))
        pairs = list(zip(columns, is_shared, strict=True))
        shared = [column[0] for column, same in pairs if same]
        own = [
            np.stack([np.asarray(leaf) for leaf in column]) for column, same in pairs if not same
        ]
        return cls(
            tuple(jax.device_put(shared, everywhere)),
            tuple(jax.device_put(own, apart)),
            is_shared,
            jax.tree.structure(members[0]),
        )

    @property
    def shape(self) -> Any:
        """What a program must be compiled for."""
        leaves = (*self.shared, *self.own)
        return self.is_shared, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)

    def member(self, shared: Sequence[Any], own: Sequence[Any]) -> Member:
        """One member from the shared leaves and its own."""
        common, single = iter(shared), iter(own)
        leaves = [next(common) if same else next(single) for same in self.is_shared]
        return jax.tree.unflatten(self.treedef, leaves)


def _shareable(member: Member, one_dataset: bool) -> Member:
    """For each leaf, whether all members have the same: samples, but not who holds them."""
    nothing = jax.tree.map(lambda _: False, member)
    if not one_dataset:
        return nothing
    held = dict.fromkeys(("order", "offsets", "sizes"), False)
    every = jax.tree.map(lambda _: True, member)
    return nothing._replace(
        data=every.data._replace(**held), test=every.test._replace(shares=False, owners=False)
    )
