"""Choosing the plan of an experiment, by rule or by a short trial of each."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from fedcode_jax.clients import Plan, plan_choices, step_price
from fedcode_jax.errors import ConfigError
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
    deterministic: bool = False,
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
      deterministic: as of ``Plan``.
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
    plans = (dataclasses.replace(each, deterministic=deterministic) for each in plans)
    if probe:
        return fastest_program(list(plans), program, weights)
    return program(next(plans))


def fastest_program(
    plans: Sequence[Plan], program: Callable[[Plan], Program], weights: Any, repeats: int = 3
) -> Program:
    """Runs a few rounds under every plan, one plan after another, and takes the fastest.

    Of each plan the smallest time counts. Only the fastest program so far is kept. A plan for which
    the device has no room is passed over.

    Args:
      plans: the candidates.
      program: builds the program of a plan.
      weights: the initial variables.
      repeats: timed rounds of each plan.

    Returns:
      The program of the fastest plan, compiled, with the times in the plan's ``reason``.

    Raises:
      ConfigError: there is no room for any.
    """
    best: tuple[float, Plan, Program] | None = None
    told: dict[Plan, str] = {}
    for plan in plans:
        candidate = program(plan)
        try:
            seconds = _round_seconds(candidate, weights, repeats)
        except (ConfigError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE" not in str(error):
                raise
            told[plan], lack = "no room", error
            continue
        told[plan] = f"{seconds:.3g} s"
        if best is None or seconds < best[0]:
            best = seconds, plan, candidate
    if best is None:
        raise ConfigError(f"execution.plan: 'probe' found no plan with room: {lack}") from lack
    seconds, plan, fastest = best
    others = ", ".join(
        f"{each.client_axis} {each.chunk}{_packed(each)} {each.conv} {text}"
        for each, text in told.items()
        if each is not plan
    )
    reason = f"probed: {seconds:.3g} s a round" + (f"; {others}" if others else "")
    return fastest.with_inputs(plan=dataclasses.replace(plan, reason=reason))


def _round_seconds(program: Program, weights: Any, repeats: int) -> float:
    """Of the fastest of some rounds, after one that compiles."""
    state, output = program.advance(program.start(weights), 1)
    fastest = float("inf")
    for _ in range(repeats):
        jax.block_until_ready((state, output))
        began = time.perf_counter()
        state, output = program.advance(state, 1)
        jax.block_until_ready(output)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest


def _packed(plan: Plan) -> str:
    return " packed" if plan.layout == "packed" else ""
