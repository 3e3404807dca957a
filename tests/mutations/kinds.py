"""All kinds of files by name, each a function of a folder that makes whole ones in it."""

from collections.abc import Callable
from pathlib import Path

import runs
import subjects
from trying import Subject

KINDS: dict[str, Callable[[Path], Subject]] = {
    "manifest": subjects.manifest,
    "state": subjects.state,
    "metrics": runs.metrics,
    "metrics_resumed": runs.metrics_reopened,
    "summary": runs.summary,
    "evaluation": runs.evaluation,
    "clients": runs.clients_reopened,
    "run_config": runs.config,
    "npz": subjects.npz,
    "npz_compressed": subjects.npz_compressed,
    "yaml": subjects.yaml,
    "sweep_yaml": subjects.sweep_yaml,
    "network_table": subjects.network_table,
    "message": subjects.message,
    "message_forged": subjects.message_forged,
    "safetensors": subjects.safetensors,
    "exported_message": subjects.exported_message,
    "exported_page": subjects.exported_page,
    "tfrecords": subjects.tfrecords,
}
