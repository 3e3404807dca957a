"""Runs an experiment, tells who watches, and writes its folder."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from fedcode_jax import config as configs
from fedcode_jax import results, wire
from fedcode_jax.config import ExperimentConfig
from fedcode_jax.errors import ConfigError
from fedcode_jax.experiment.building import Experiment, build
from fedcode_jax.simulation import State, WireCheck, checkpoint, simulate


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

    Example:
      >>> result = run(ExperimentConfig(rounds=1))
      >>> result.summary["status"], result.summary["total_downlink_bytes"]
      ('completed', 50330)
    """
    if config.out is not None and not (overwrite or resume):
        results.RunFolder.check_free(config.out)
    if resume:
        _check_same(config)
    experiment = build(config)
    program = experiment.program
    check = WireCheck() if wire_check else None
    program.keep_traffic = wire_check
    state, folder = program.start(experiment.weights), None
    records: list[dict] = []
    text = configs.to_yaml(config)
    versions = results.installed_versions(experiment.info["device"])
    if resume:
        latest = checkpoint.latest(pathlib.Path(config.out or "") / results.CHECKPOINTS)
        state = checkpoint.restore(latest, state)
        folder, records = results.RunFolder.reopen(
            config.out or "", text, versions, rounds=int(state.round)
        )
    elif config.out is not None:
        folder = results.RunFolder.create(config.out, text, versions, overwrite=overwrite)
        folder.describe(experiment.dataset, experiment.partition)
    if observer is not None:
        observer.started(experiment.info, config.rounds)

    saved = int(state.round)

    def advanced(new: list[dict], state: State) -> None:
        nonlocal saved
        if folder is not None:
            folder.append(new)
            done = new[-1]["round"]
            if config.checkpoint_every and done - saved >= config.checkpoint_every:
                checkpoint.save(folder.checkpoints, state)
                saved = done
        if observer is not None:
            observer.advanced(new)

    outcome = simulate(
        program,
        state,
        rounds=config.rounds,
        eval_every=config.eval_every,
        link=experiment.network,
        records=records,
        advanced=advanced,
        wire_check=check,
    )
    summary = summary_of(experiment, outcome.records, outcome.status)
    if check is not None:
        summary["wire_check"] = dataclasses.asdict(check)
    if folder is not None:
        if len(outcome.records) > saved:
            checkpoint.save(folder.checkpoints, outcome.state)
        label = f"{config.algorithm.name} on {config.data.name}"
        results.plot_curves({label: outcome.records}, folder.path / results.CURVES)
        folder.finish(summary)
    if observer is not None:
        observer.finished(summary)
    # Jitted, so that the deployed model, which nobody asks for here, is not fitted.
    report = jax.jit(lambda state: program.algorithm.report(state.server, state.store)[0])
    return Result(
        config=config,
        records=outcome.records,
        summary=summary,
        weights=jax.tree.map(lambda leaf: np.asarray(leaf[0]), report(outcome.state)),
        folder=folder.path if folder is not None else None,
    )


def summary_of(
    experiment: Experiment, records: list[dict], status: results.Status
) -> dict[str, Any]:
    """The closing figures of a run, as ``summary.json`` holds them.

    Args:
      experiment: what ran.
      records: one dict a round.
      status: how it ended.

    Returns:
      The figures of ``results.summarise``, and the mean padding waste, the compilations, the
      plan, the network and the checksums of data and partition.
    """
    program, message = experiment.program, experiment.fedavg_message
    messages = 2 * program.cohort * len(records)
    summary = results.summarise(
        records,
        period=experiment.period,
        status=status,
        fedavg_bytes=messages * int(wire.size_bits(message)) / 8,
        fedavg_formula_bits=messages * int(wire.formula_bits(message)),
        compile_seconds=program.compile_seconds,
    )
    wastes = [record["padding_waste"] for record in records]
    return {
        **summary,
        "padding_waste": sum(wastes) / len(wastes) if wastes else None,
        "compilations": program.compilations,
        "plan": str(program.plan),
        "partition_checksum": experiment.partition.checksum,
        "data_checksum": experiment.dataset.checksum,
        "network": str(experiment.network),
    }


def _check_same(config: ExperimentConfig) -> None:
    """Checks that a run to be resumed has the config that its folder holds, but for rounds."""
    if config.out is None:
        raise ConfigError("out: --resume needs the folder of a run; pass --out")
    text = results.read(config.out).config_text
    free = {"rounds": config.rounds, "out": config.out, "checkpoint_every": config.checkpoint_every}
    earlier = configs.to_dict(configs.replace(configs.from_yaml(text), free))
    for section, value in configs.to_dict(config).items():
        if value != earlier[section]:
            raise ConfigError(
                f"{section}: {value!r} is not what the run in {config.out!r} has, "
                f"{earlier[section]!r}; to resume it, pass --config {config.out}/config.yaml"
            )
