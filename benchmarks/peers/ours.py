"""fedcode_jax itself on a task, by its public pieces.

    python benchmarks/peers/ours.py TASK.npz --rounds N --threads T [--check] [--plan probe]

All rounds between two evaluations are one call of one program, so ``--rounds`` rounds give one
figure: their mean. The evaluation that belongs to a call is given a single image; the test set is
evaluated after the timed rounds.
"""

import argparse
import time

import numpy as np
from task import Task, arguments, load


def options_of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plan",
        default="auto",
        choices=("auto", "probe"),
        help="by rule, or the fastest in a short trial",
    )


def make_program(task: Task, plan_name: str):
    """The program, ready to run, and its first weights."""
    import ours_models

    from fedcode_jax import algorithms, schedules
    from fedcode_jax.clients import ClientData
    from fedcode_jax.devices import claim_cores, device_count
    from fedcode_jax.network import Network
    from fedcode_jax.simulation import EvaluationData, Program, Settings
    from fedcode_jax.simulation.planning import planned

    arrays, meta = task.arrays, task.meta
    claim_cores()
    devices = device_count(None, meta["clients_per_round"])
    weights = ours_models.variables(task)
    data = ClientData.from_arrays(
        arrays["train_x"], arrays["train_y"], arrays["mean"], arrays["std"], tuple(task.clients)
    )
    one_image = EvaluationData.from_arrays(
        arrays["test_x"][:1],
        arrays["test_y"][:1],
        arrays["mean"],
        arrays["std"],
        devices=devices,
    )

    settings = Settings(
        seed=np.uint32(0),
        schedule=schedules.always(),
        learning_rate=np.float32(meta["learning_rate"]),
        rounds=np.int32(1),
        links=Network().links(len(task.clients)),
    )

    def program(plan):
        return Program(
            algorithm=algorithms.fedavg(),
            training=ours_models.training(task, plan.conv),
            model=ours_models.model(task),
            plan=plan,
            data=data,
            test=one_image,
            settings=settings,
            cohort=meta["clients_per_round"],
            max_size=max(map(len, task.clients)),
        )

    probe = plan_name == "probe"
    return planned(program, weights, devices=devices, probe=probe), weights


def main() -> None:
    start = time.perf_counter()
    options = arguments(__doc__, options_of)
    # Only now, when the process has its cores: JAX counts them when it is loaded.
    import jax
    import ours_models

    task = load(options.task)
    program, weights = make_program(task, options.plan)
    state = program.start(weights)
    seconds = []
    # The first call compiles, and is what others call a warm-up.
    for index in range(2 if options.warmup else 1):
        if index == 1:
            setup = time.perf_counter() - start
        began = time.perf_counter()
        state, _ = jax.block_until_ready(program.advance(state, options.rounds))
        seconds.append((time.perf_counter() - began) / options.rounds)
    if not options.warmup:
        setup = time.perf_counter() - start
    server, _ = program.algorithm.report(state.server, state.store)
    ours_models.report_on(
        "ours",
        task,
        options,
        server,
        program.plan.devices,
        setup_seconds=setup,
        round_seconds=seconds,
        plan=str(program.plan),
        compile_seconds=program.compiled.seconds,
    )


if __name__ == "__main__":
    main()
