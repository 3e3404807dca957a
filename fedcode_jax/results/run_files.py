"""The files of a run's folder: what they are called, and reading them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fedcode_jax.config.files import OF_RUN
from fedcode_jax.errors import CheckpointError
from fedcode_jax.results.figures import check_record, check_summary

CONFIG = OF_RUN
METRICS = "metrics.jsonl"
METRICS_TABLE = "metrics.csv"
CLIENTS = "clients.csv"
LOGS = "logs.json"
SUMMARY = "summary.json"
EVALUATION = "evaluation.json"
CURVES = "curves.png"
PARTITION = "partition.txt"
PARTITION_PLOT = "partition.png"
CHECKPOINTS = "checkpoints"
SAFETENSORS, MESSAGE, CONTENTS = "model.safetensors", "model.fedcode", "model.json"
"""What ``fedcode export`` writes; the last two belong together."""


class RunFiles(NamedTuple):
    """What a run folder holds.

    Attributes:
      config_text: ``config.yaml``, which ``config.load`` reads.
      records: one dictionary a round.
      summary: the closing figures; None for a run that was killed.
    """

    config_text: str
    records: list[dict[str, Any]]
    summary: dict[str, Any] | None


def with_versions(config_text: str, versions: Mapping[str, str]) -> str:
    """The text of ``config.yaml``: settings, and below them the versions that ran them."""
    import yaml

    noted = yaml.safe_dump({"versions": dict(versions)}, sort_keys=False)
    return config_text.rstrip("\n") + "\n" + noted


def noted_versions(config_text: str) -> dict[str, Any]:
    """The versions below the settings in the text of ``config.yaml``.

    Example:
      >>> noted_versions(with_versions("seed: 0", {"jax": "0.9"}))
      {'jax': '0.9'}
    """
    import yaml

    settings = yaml.safe_load(config_text)
    found = settings.get("versions") if isinstance(settings, dict) else None
    return found if isinstance(found, dict) else {}


def read(path: str | os.PathLike[str]) -> RunFiles:
    """Reads a run folder, also one of a run that was killed while it wrote.

    Args:
      path: the folder.

    Returns:
      Its config, records and summary. A last line that was cut off is left out.

    Raises:
      CheckpointError: a missing folder or file, a line that is not a record, one of another round,
        or a figure that is none.
    """
    folder = Path(path)
    try:
        config_text = (folder / CONFIG).read_text(encoding="utf-8")
        lines = (folder / METRICS).read_bytes().split(b"\n")
        done = folder / SUMMARY
        summary = json.loads(done.read_text(encoding="utf-8")) if done.exists() else None
    except OSError as error:
        raise CheckpointError(
            f"{error.filename}: cannot be read ({error.strerror}); is {str(folder)!r} the folder"
            " of a run?"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{folder}: holds a damaged file ({error})") from error
    if summary is not None and not isinstance(summary, dict):
        raise CheckpointError(f"{done}: is damaged: it holds no figures; remove it")
    check_summary(str(done), summary or {})
    # Every whole line ends with a line break, so what follows the last one was cut off.
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise CheckpointError(f"{folder / METRICS}, line {number}: is not a record of a round")
        where = f"{folder / METRICS}, line {number}"
        check_record(where, record, records[-1] if records else None)
        records.append(record)
    return RunFiles(config_text, records, summary)
