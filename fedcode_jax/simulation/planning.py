"""Choosing the plan of an experiment, by rule or by a short trial of each."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from fedcode_jax.clients import Plan, plan_choices, step_price
from fedcode_jax.simulation.device_memory import clients_that_fit
from fedcode_jax.simulation.program import Program
from fedcode_jax.targets import here


def planned(
    program: Callable[[Plan], Program],
    weights: Any,
    *,
    target: str | None = None,
    devices: int = 1,
    precision: str = "float32",
    chunk: int | None = None,
    client_axis: str | None = None,
    conv: str | None = None,
    layout: str | None = None,
    may_pack: bool = True,
    probe: bool = False,
) -> Program:
    """The program of the plan that suits the machine.

    Args:
      program: builds the program of a plan.
      weights: the initial variables.
      target: the kind of machine; None for the one at hand.
      devices: that share the clients of a round.
      precision: of local training.
      chunk: as set, or None to choose, as the following three.
      client_axis: as set, or None.
      conv: as set, or None.
      layout: as set, or None.
      may_pack: whether packed slots are chosen without being asked for.
      probe: run a few rounds under each plan, instead of going by the rules.

    Returns:
      The program; compiled, if its plan was probed.

    Raises:
      ConfigError: settings that contradict each other.
    """
    target = here() if target is None else target

    def with_plan(lowering: str, layout: str = "sorted") -> Program:
        return program(Plan("vmap", 1, lowering, precision, devices, target=target, layout=layout))

    any_plan = with_plan("native")
    sample_shape = any_plan.data.x.shape[1:]
    plans = plan_choices(
        target,
        weights=weights,
        sizes=any_plan.sizes,
        cohort=any_plan.cohort,
        epochs=any_plan.training.epochs,
        batch_size=any_plan.training.batch_size,
        chunk=chunk,
        client_axis=client_axis,
        conv=conv,
        layout=layout,
        precision=precision,
        devices=devices,
        fits=lambda lowering, kind: clients_that_fit(with_plan(lowering, kind), weights),
        price=lambda lowering: step_price(
            with_plan(lowering).training, weights, sample_shape, target
        ),
        may_pack=may_pack,
    )
    if probe:
        return fastest_program(list(plans), program, weights)
    return program(next(plans))


def fastest_program(
    plans: Sequence[Plan], program: Callable[[Plan], Program], weights: Any, repeats: int = 3
) -> Program:
    """Runs a few rounds under every plan, in turn, and takes the fastest.

    Each plan's program is compiled first; the plans are then timed in turn, and the smallest
    of a plan's times counts, so that a machine that slows down in between is fair to all.

    Args:
      plans: the candidates.
      program: builds the program of a plan.
      weights: the initial variables.
      repeats: timed rounds of each plan.

    Returns:
      The program of the fastest plan, compiled, with the times in the plan's ``reason``.
    """
    programs = [program(plan) for plan in plans]
    states = [one.advance(one.start(weights), 1)[0] for one in programs]
    seconds = [float("inf")] * len(plans)
    for _ in range(repeats):
        for i, candidate in enumerate(programs):
            jax.block_until_ready(states[i])
            began = time.perf_counter()
            states[i], output = candidate.advance(states[i], 1)
            jax.block_until_ready(output)
            seconds[i] = min(seconds[i], time.perf_counter() - began)
    best = min(range(len(plans)), key=seconds.__getitem__)
    others = ", ".join(
        f"{plan.client_axis} {plan.chunk}{_packed(plan)} {plan.conv} {time:.3g} s"
        for i, (plan, time) in enumerate(zip(plans, seconds, strict=True))
        if i != best
    )
    reason = f"probed: {seconds[best]:.3g} s a round" + (f"; {others}" if others else "")
    return programs[best].with_inputs(plan=dataclasses.replace(plans[best], reason=reason))


def _packed(plan: Plan) -> str:
    return " packed" if plan.layout == "packed" else ""
