"""MLflow runs, in a store in the run's folder or where MLflow's own settings say."""

import os
import time
from collections.abc import Mapping
from typing import Any

from fedcode_jax.loggers.contract import Beginning
from fedcode_jax.loggers.figures import SUMMARY, numbers, texts
from fedcode_jax.loggers.libraries import library

STORE = "mlflow.db"
_STATUS = {"completed": "FINISHED", "interrupted": "KILLED"}
_MOST_PARAMS = 100
"""In one request."""


class MLflow:
    """Writes a run of MLflow, into ``mlflow.db`` in the folder of the run, or of its sweep.

    ``MLFLOW_TRACKING_URI``, or ``mlflow.set_tracking_uri``, names another store, and
    ``MLFLOW_EXPERIMENT_NAME`` the experiment, which is else the sweep's folder or ``fedcode_jax``.
    Settings are params, which stay as they were when a run is resumed; figures are metrics of the
    same name, the closing ones ``summary/<name>``, their texts tags.
    """

    elsewhere = "MLFLOW_TRACKING_URI"

    def __init__(self) -> None:
        self._mlflow = library("mlflow", "mlflow", "mlflow")
        self._entities = library("mlflow", "mlflow.entities", "mlflow")
        self.needs_folder = not self._mlflow.is_tracking_uri_set()
        if self.needs_folder:
            library("mlflow", "sqlalchemy", "mlflow")
            library("mlflow", "alembic", "mlflow")

    def begin(self, run: Beginning) -> int:
        """Begins a run, or opens that of an earlier start."""
        uri = self._mlflow.get_tracking_uri()
        if self.needs_folder:
            assert run.shared is not None
            run.shared.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{(run.shared / STORE).absolute()}"
        self._client = self._mlflow.MlflowClient(tracking_uri=uri)
        self._round = run.done
        if "run_id" in run.kept:
            self._run_id = run.kept["run_id"]
            self._client.update_run(self._run_id, status="RUNNING")
            history = self._client.get_metric_history(self._run_id, "round")
            return max((each.step for each in history), default=0)
        begun = self._client.create_run(self._experiment(run), run_name=run.name)
        self._run_id = run.kept["run_id"] = begun.info.run_id
        params = [self._entities.Param(name, str(value)) for name, value in run.settings.items()]
        for first in range(0, len(params), _MOST_PARAMS):
            some = params[first : first + _MOST_PARAMS]
            self._client.log_batch(self._run_id, params=some)
        return 0

    def round(self, record: Mapping[str, Any]) -> None:
        """Writes the figures of a round."""
        self._round = record["round"]
        self._log(numbers(record))

    def end(self, summary: Mapping[str, Any]) -> None:
        """Writes the closing figures, and how the run ended."""
        figures = {f"{SUMMARY}{name}": value for name, value in numbers(summary).items()}
        self._log(figures, {f"{SUMMARY}{name}": text for name, text in texts(summary).items()})
        status = _STATUS.get(summary["status"], "FAILED")
        self._client.set_terminated(self._run_id, status)

    def _experiment(self, run: Beginning) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.group or "fedcode_jax"
        found = self._client.get_experiment_by_name(name)
        return self._client.create_experiment(name) if found is None else found.experiment_id

    def _log(self, figures: Mapping[str, float], tags: Mapping[str, str] | None = None) -> None:
        now = int(1000 * time.time())
        metrics = [
            self._entities.Metric(name, value, now, self._round) for name, value in figures.items()
        ]
        noted = [self._entities.RunTag(name, text) for name, text in (tags or {}).items()]
        self._client.log_batch(self._run_id, metrics=metrics, tags=noted)
