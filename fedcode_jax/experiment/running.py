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
from fedcode_jax.errors import ConfigError, WireCheckError
from fedcode_jax.experiment.building import Experiment, build
from fedcode_jax.experiment.clients_table import check_clients
from fedcode_jax.experiment.closing import summary_of
from fedcode_jax.experiment.given import Given, named
from fedcode_jax.experiment.going_on import check_same, going_on, is_finished
from fedcode_jax.experiment.journal import Journal, Observer, curves_label
from fedcode_jax.experiment.saving import pauses
from fedcode_jax.limits import check_whole
from fedcode_jax.loggers import Logger, Loggers, makers
from fedcode_jax.results.writing import check_writable
from fedcode_jax.shadow import Check
from fedcode_jax.simulation import (
    Outcome,
    Program,
    State,
    WireCheck,
    checkpoint,
    processes,
    simulate,
)


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
    check: int = 0,
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
      resume: goes on from the latest whole checkpoint in ``config.out``; of a run that is finished
        the result is what its folder holds, and nothing is changed.
      wire_check: encodes and decodes every message for real, and holds the sizes that the run
        counts against the bytes; the summary then has ``wire_check``.
      check: how many of the first rounds are done once more in NumPy's float64 and compared, as
        SEMANTICS.md says; the summary then has ``check``.
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
      CheckpointError: there is nothing to resume, or it is of another config, version or data.
      WireCheckError: a message did not survive, or its counted size is off.
      CheckError: a checked round differs from float64 by more than rounding can.
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
        experiment = _rebuilt(config, noted, given) if resume else build(config, **given)
    experiment = _with_common_plan(experiment)
    with processes.together():
        checks = _Checks.of(experiment, wire_check, check)
    processes.check_same(_facts(experiment))
    program = experiment.program
    state = program.start(experiment.weights)
    from_path = None
    if resume:
        with processes.together():
            from_path = going_on(experiment) if processes.is_first() else None
            finished = from_path is not None and is_finished(config, from_path)
        if processes.any_of(finished):
            return _as_kept(experiment, from_path, state)
    if observer is None and not quiet:
        observer = results.notebook_observer(curves_label(config))
    journal, state = Journal.opened(
        experiment, state, observer, told, overwrite=overwrite, from_path=from_path
    )
    try:
        outcome, summary = _simulated(experiment, journal, state, checks)
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


@dataclasses.dataclass(frozen=True)
class _Checks:
    """What looks at a run beside it, each None where it is not asked for."""

    wire: WireCheck | None
    rounds: Check | None

    @classmethod
    def of(cls, experiment: Experiment, wire_check: bool, check: int) -> "_Checks":
        check_whole("check", check, 0)
        rounds = Check(experiment.program, experiment.config, check) if check else None
        return cls(WireCheck() if wire_check else None, rounds)


def _simulated(
    experiment: Experiment, journal: Journal, state: State, checks: _Checks
) -> tuple[Outcome, dict[str, Any]]:
    """Runs the rounds, and writes down what they came to."""
    config = experiment.config
    wire = checks.wire
    outcome = simulate(
        experiment.program,
        state,
        rounds=config.rounds,
        eval_every=config.eval_every,
        pause_every=pauses(config) if config.out is not None else (),
        records=journal.records,
        advanced=journal.advanced,
        wire_check=wire,
        check=checks.rounds,
    )
    summary = summary_of(experiment, outcome)
    summary["algorithm"] = config.algorithm.name
    if outcome.signal is not None:
        summary["signal"] = outcome.signal
    if wire is not None:
        summary["wire_check"] = wire.figures
    if checks.rounds is not None:
        summary["check"] = checks.rounds.figures
    journal.closed(outcome, summary)
    if wire is not None and not wire.messages and outcome.status == "completed":
        raise WireCheckError("no message was checked: the run had no round left to do")
    return outcome, summary


def _as_kept(experiment: Experiment, path: pathlib.Path | None, state: State) -> Result:
    """The result of a finished run, from its folder."""
    config = experiment.config
    state = checkpoint.restore(path or pathlib.Path(), state)
    with processes.together():
        found = results.read(config.out or "") if processes.is_first() else None
    kept = json.dumps([found.records, found.summary]) if found is not None else ""
    records, summary = json.loads(processes.text_from_first(kept))
    return Result(
        config=config,
        records=records,
        summary=summary,
        weights=jax.tree.map(np.asarray, _server_weights(experiment.program, state)),
        folder=pathlib.Path(config.out or "") if processes.is_first() else None,
    )


def _rebuilt(config: ExperimentConfig, noted: str, own: Given) -> Experiment:
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
    if config.out is not None:
        results.check_unheld(config.out)
    if config.out is not None and not (overwrite or resume):
        results.RunFolder.check_free(config.out)
    if config.out is not None:
        check_writable(config.out)
    return check_same(config) if resume else ""


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
