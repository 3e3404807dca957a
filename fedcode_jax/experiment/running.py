"""Runs an experiment, tells who watches, and writes its folder."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any, Unpack

import jax
import numpy as np

from fedcode_jax import config as configs
from fedcode_jax import randomness, results
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.devices import claim_cores, replicated
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.building import Experiment, build
from fedcode_jax.experiment.clients_table import check_clients
from fedcode_jax.experiment.closing import summary_of
from fedcode_jax.experiment.given import Given, named
from fedcode_jax.experiment.journal import Journal, Observer, curves_label
from fedcode_jax.loggers import Logger, Loggers, makers
from fedcode_jax.names import PARTS, is_given
from fedcode_jax.simulation import (
    Outcome,
    Program,
    State,
    WireCheck,
    processes,
    simulate,
)

_WHATEVER_ROUNDS = ("periodic", "paired", "warmup", "step_size", "drift")
"""Schedules by which what was sent so far does not depend on how many rounds there are to be."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
      config: that made it, with names for the parts that were given in Python.
      records: one dict a round, as in ``metrics.jsonl``.
      summary: as in ``summary.json``.
      weights: the server's variables after the last round; of ``local_only``, those of
        the first client.
      folder: where it was written, or None.
    """

    config: ExperimentConfig
    records: list[dict]
    summary: dict[str, Any]
    weights: Any
    folder: pathlib.Path | None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """For IPython: the closing table, and in a notebook the curves."""
        del include, exclude
        table = results.closing_table(
            self.summary, network=self.summary["network"], folder=self.folder
        )
        return results.shown(table, {curves_label(self.config): self.records})


@randomness.standardised
def run(
    config: ExperimentConfig,
    *,
    observer: Observer | None = None,
    loggers: Sequence[Logger] = (),
    overwrite: bool = False,
    resume: bool = False,
    wire_check: bool = False,
    quiet: bool = False,
    **given: Unpack[Given],
) -> Result:
    """Runs one experiment, and writes its folder if ``config.out`` names one.

    With several processes (``jax.distributed``) each of them calls it. They share the clients
    and get equal results; the first one alone has an observer and a folder.

    Args:
      config: the experiment.
      observer: is told of the start, of every evaluation and of the end; None for a bar and curves
        in a notebook, and nothing elsewhere.
      loggers: of your own, told of every round beside those that ``config.log`` names; see
        ``loggers.Logger``.
      overwrite: replaces a run that ``config.out`` already holds.
      resume: goes on from the latest checkpoint in ``config.out``.
      wire_check: encodes and decodes every message for real, and holds the sizes that the run
        counts against the bytes; the summary then has ``wire_check``.
      quiet: shows nothing in a notebook either.
      **given: parts of your own in place of those that the config names, by keyword: ``model``,
        ``dataset``, ``algorithm``, ``optimizer``, ``loss``, ``metrics`` and so on, see
        ``experiment.Given``; to resume, give the same again.

    Returns:
      The result. A run that diverged or was interrupted (one Ctrl-C) has one too; its
      ``summary["status"]`` says so.

    Raises:
      ConfigError: a setting that cannot be used, a folder that holds a run, a logger that lacks its
        library or cannot begin; one that fails later costs a warning.
      DataError: the data set is missing or malformed.
      CheckpointError: there is nothing to resume, or it does not fit.
      WireCheckError: a message did not survive, or its counted size is off.
      ElsewhereError: one of these errors in another process.

    Example:
      >>> result = run(ExperimentConfig(rounds=1))
      >>> result.summary["status"], result.summary["total_downlink_bytes"]
      ('completed', 50330)
    """
    claim_cores()  # before the first look at the processes
    with processes.together():
        config = named(config, given)
        noted = _check_before(config, overwrite=overwrite, resume=resume)
        told = Loggers(
            makers(config.log, loggers, folder=config.out) if processes.is_first() else []
        )
    noted = processes.text_from_first(noted)
    with processes.together():
        experiment = _resumed(config, noted, given) if resume else build(config, **given)
    experiment = _with_common_plan(experiment)
    processes.check_same(_facts(experiment))
    program = experiment.program
    state = program.start(experiment.weights)
    if observer is None and not quiet:
        observer = results.notebook_observer(curves_label(config))
    journal, state = Journal.opened(
        experiment, state, observer, told, overwrite=overwrite, resume=resume
    )
    try:
        outcome, summary = _simulated(experiment, journal, state, wire_check)
    except BaseException as error:
        journal.failed(error)
        raise
    return Result(
        config=config,
        records=outcome.records,
        summary=summary,
        weights=jax.tree.map(np.asarray, _server_weights(program, outcome.state)),
        folder=journal.folder.path if journal.folder is not None else None,
    )


def _simulated(
    experiment: Experiment, journal: Journal, state: State, wire_check: bool
) -> tuple[Outcome, dict[str, Any]]:
    """Runs the rounds, and writes down what they came to."""
    config = experiment.config
    check = WireCheck() if wire_check else None
    outcome = simulate(
        experiment.program,
        state,
        rounds=config.rounds,
        eval_every=config.eval_every,
        records=journal.records,
        advanced=journal.advanced,
        wire_check=check,
    )
    summary = summary_of(experiment, outcome)
    summary["algorithm"] = config.algorithm.name
    if check is not None:
        summary["wire_check"] = check.figures
    journal.closed(outcome, summary)
    return outcome, summary


def _resumed(config: ExperimentConfig, noted: str, own: Given) -> Experiment:
    """The experiment of a run that goes on from its checkpoint; what it began with is not read."""
    experiment = build(configs.replace(config, {"init": None, "init_skip": ()}), **own)
    return dataclasses.replace(experiment, config=config, init_checksum=noted or None)


def _server_weights(program: Program, state: State | None) -> Any:
    """The first of the models that the algorithm reports.

    Jitted, so that the deployed model, which nobody asks for here, is not fitted.
    """
    assert state is not None
    reported = jax.jit(
        lambda state: jax.tree.map(
            lambda leaf: leaf[0], program.algorithm.report(state.server, state.store)[0]
        ),
        out_shardings=replicated(program.plan.devices),
    )
    return reported(state)


def _check_before(config: ExperimentConfig, *, overwrite: bool, resume: bool) -> str:
    """Checks what can be known before anything is loaded.

    Returns:
      The checksum of what a run to be resumed began with; empty if that was at random.
    """
    if processes.several() and config.execution.plan == "probe":
        raise ConfigError(
            "execution.plan: 'probe' times one process; find a plan with one, set "
            "execution.client_axis, chunk and conv to it, and use auto"
        )
    if not processes.is_first():
        return ""
    check_clients(config, config.out)
    if config.out is not None and not (overwrite or resume):
        results.RunFolder.check_free(config.out)
    return _check_same(config) if resume else ""


def _with_common_plan(experiment: Experiment) -> Experiment:
    """Takes the plan of the smallest chunk that a process chose: they may have unlike room."""
    program = experiment.program
    own = program.plan
    chosen = processes.gather(json.dumps([own.chunk, own.layout, own.reason]))
    chunk, layout, reason = min(map(json.loads, chosen))
    plan = dataclasses.replace(own, chunk=chunk, layout=layout, reason=reason)
    if plan == own:
        return experiment
    return dataclasses.replace(experiment, program=dataclasses.replace(program, plan=plan))


def _facts(experiment: Experiment) -> dict[str, str]:
    """What must not differ between processes."""
    config = configs.to_dict(configs.replace(experiment.config, {"out": None}))
    return {
        **{section: str(value) for section, value in config.items()},
        "data": experiment.dataset.checksum,
        "init": str(experiment.init_checksum),
        "partition": experiment.partition.checksum,
        "plan": str(experiment.program.plan),
    }


def _check_same(config: ExperimentConfig) -> str:
    """Checks that a run to be resumed has the config that its folder holds, but for rounds.

    Returns:
      The checksum of what it began with; empty if that was at random.
    """
    if config.out is None:
        raise ConfigError("out: --resume needs the folder of a run; pass --out")
    text = results.read(config.out).config_text
    free: dict[str, Any] = {
        "out": config.out,
        "checkpoint_every": config.checkpoint_every,
        "log": config.log,
        "execution.devices": config.execution.devices,
    }
    if config.local.decay == "none" and config.schedule.name in _WHATEVER_ROUNDS:
        free["rounds"] = config.rounds  # else what came so far depended on their number
    earlier = configs.flattened(configs.to_dict(configs.replace(configs.from_yaml(text), free)))
    now = configs.flattened(configs.to_dict(config))
    for name in sorted({*now, *earlier}, key=lambda n: (not n.endswith("name"), n.count("."), n)):
        if now.get(name) == earlier.get(name):
            continue
        how = f"pass --config {config.out}/config.yaml"
        if is_given(str(earlier.get(name))):
            part = next((part for part, its in PARTS.items() if its == name), "metrics")
            how = f"give the same object again: {part}=..."
        raise ConfigError(
            f"{name}: {now.get(name)!r} is not what the run in {config.out!r} has, "
            f"{earlier.get(name)!r}; to resume it, {how}"
        )
    return str(results.noted_versions(text).get("init") or "")
