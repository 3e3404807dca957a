"""Runs an experiment, tells who watches, and writes its folder."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.clients.mesh import claim_cores, replicated
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.building import Experiment, build
from fedcode_jax.experiment.closing import evaluation_of, summary_of
from fedcode_jax.simulation import State, WireCheck, checkpoint, processes, simulate


class Observer(Protocol):
    """Who watches a run; the command shows a progress bar this way."""

    def started(self, info: Mapping[str, str], rounds: int) -> None:
        """Called once, before the first round, with lines for people."""

    def advanced(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Called after every evaluation with the new records."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Called once, with the summary."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
      config: that made it.
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


def run(
    config: ExperimentConfig,
    *,
    observer: Observer | None = None,
    overwrite: bool = False,
    resume: bool = False,
    wire_check: bool = False,
) -> Result:
    """Runs one experiment, and writes its folder if ``config.out`` names one.

    With several processes (``jax.distributed``) each of them calls it. They share the clients
    and get equal results; the first one alone has an observer and a folder.

    Args:
      config: the experiment.
      observer: is told of the start, of every evaluation and of the end.
      overwrite: replaces a run that ``config.out`` already holds.
      resume: goes on from the latest checkpoint in ``config.out``.
      wire_check: encodes and decodes every message for real, and holds the sizes that the run
        counts against the bytes; the summary then has ``wire_check``.

    Returns:
      The result. A run that diverged or was interrupted (one Ctrl-C) has one too; its
      ``summary["status"]`` says so.

    Raises:
      ConfigError: a setting that cannot be used, or a folder that holds a run.
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
    first = processes.is_first()
    with processes.together():
        if processes.several() and config.execution.plan == "probe":
            raise ConfigError(
                "execution.plan: 'probe' times one process; find a plan with one, set "
                "execution.client_axis, chunk and conv to it, and use auto"
            )
        if first and config.out is not None and not (overwrite or resume):
            results.RunFolder.check_free(config.out)
        if first and resume:
            _check_same(config)
    with processes.together():
        experiment = build(config)
    experiment = _with_common_plan(experiment)
    processes.check_same(_facts(experiment))
    program = experiment.program
    check = WireCheck() if wire_check else None
    program.keep_traffic = wire_check
    state = program.start(experiment.weights)
    folder: results.RunFolder | None = None
    records: list[dict] = []
    text = configs.to_yaml(config)
    versions = results.installed_versions(experiment.info["device"])
    kept = pathlib.Path(config.out or "") / results.CHECKPOINTS
    observer = observer if first else None
    if resume:
        with processes.together():
            latest = checkpoint.latest(kept) if first else kept
        state = checkpoint.restore(latest, state)
    with processes.together():
        if first and resume:
            folder, records = results.RunFolder.reopen(
                config.out or "", text, versions, rounds=int(state.round)
            )
        elif first and config.out is not None:
            folder = results.RunFolder.create(config.out, text, versions, overwrite=overwrite)
            folder.describe(experiment.dataset, experiment.partition)
        if observer is not None:
            observer.started(experiment.info, config.rounds)
    if resume:
        records = json.loads(processes.text_from_first(json.dumps(records)))

    saved = int(state.round)

    def advanced(new: list[dict], state: State) -> None:
        nonlocal saved
        with processes.together():
            if folder is not None:
                folder.append(new)
            if observer is not None:
                observer.advanced(new)
        done = new[-1]["round"]
        if config.out and config.checkpoint_every and done - saved >= config.checkpoint_every:
            checkpoint.save(kept, state)
            saved = done

    outcome = simulate(
        program,
        state,
        rounds=config.rounds,
        eval_every=config.eval_every,
        records=records,
        advanced=advanced,
        wire_check=check,
    )
    summary = summary_of(experiment, outcome)
    if check is not None:
        summary["wire_check"] = dataclasses.asdict(check)
    if config.out is not None and len(outcome.records) > saved:
        assert outcome.state is not None
        checkpoint.save(kept, outcome.state)
    # Jitted, so that the deployed model, which nobody asks for here, is not fitted.
    weights = jax.jit(
        lambda state: jax.tree.map(
            lambda leaf: leaf[0], program.algorithm.report(state.server, state.store)[0]
        ),
        out_shardings=replicated(program.plan.devices),
    )(outcome.state)
    with processes.together():
        if folder is not None:
            label = f"{config.algorithm.name} on {config.data.name}"
            results.plot_curves({label: outcome.records}, folder.path / results.CURVES)
            folder.finish(summary, evaluation_of(experiment, outcome.scores))
        if observer is not None:
            observer.finished(summary)
    return Result(
        config=config,
        records=outcome.records,
        summary=summary,
        weights=jax.tree.map(np.asarray, weights),
        folder=folder.path if folder is not None else None,
    )


def _with_common_plan(experiment: Experiment) -> Experiment:
    """Takes the smallest chunk that a process chose: they may have unlike room."""
    program = experiment.program
    chunk = min(map(int, processes.gather(str(program.plan.chunk))))
    if chunk == program.plan.chunk:
        return experiment
    plan = dataclasses.replace(program.plan, chunk=chunk)
    return dataclasses.replace(experiment, program=dataclasses.replace(program, plan=plan))


def _facts(experiment: Experiment) -> dict[str, str]:
    """What must not differ between processes."""
    config = configs.to_dict(configs.replace(experiment.config, {"out": None}))
    return {
        **{section: str(value) for section, value in config.items()},
        "data": experiment.dataset.checksum,
        "partition": experiment.partition.checksum,
        "plan": str(experiment.program.plan),
    }


def _check_same(config: ExperimentConfig) -> None:
    """Checks that a run to be resumed has the config that its folder holds, but for rounds."""
    if config.out is None:
        raise ConfigError("out: --resume needs the folder of a run; pass --out")
    text = results.read(config.out).config_text
    free: dict[str, Any] = {
        "out": config.out,
        "checkpoint_every": config.checkpoint_every,
        "execution.devices": config.execution.devices,
    }
    if config.local.decay == "none" and config.schedule.name not in ("late", "budget"):
        free["rounds"] = config.rounds  # else what came so far depended on their number
    earlier = configs.to_dict(configs.replace(configs.from_yaml(text), free))
    for section, value in configs.to_dict(config).items():
        if value != earlier[section]:
            raise ConfigError(
                f"{section}: {value!r} is not what the run in {config.out!r} has, "
                f"{earlier[section]!r}; to resume it, pass --config {config.out}/config.yaml"
            )
