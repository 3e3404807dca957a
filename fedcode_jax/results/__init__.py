"""Run folders, metrics, tables and plots."""

from fedcode_jax.results.folder import RunFolder
from fedcode_jax.results.locking import check_unheld
from fedcode_jax.results.notebook import notebook_observer, notebook_sweep, shown
from fedcode_jax.results.plots import plot_curves
from fedcode_jax.results.progress import ProgressObserver
from fedcode_jax.results.report import write_report
from fedcode_jax.results.run_files import CHECKPOINTS, CURVES, RunFiles, noted_versions, read
from fedcode_jax.results.summary import Status, summarise
from fedcode_jax.results.sweep_display import sweep_table
from fedcode_jax.results.sweep_folder import FAILED, SweepFolder
from fedcode_jax.results.sweep_rows import sweep_row
from fedcode_jax.results.table import closing_table
from fedcode_jax.results.units import format_accuracy, format_bytes, format_seconds
from fedcode_jax.results.versions import installed_versions

__all__ = [
    "CHECKPOINTS",
    "CURVES",
    "FAILED",
    "ProgressObserver",
    "RunFiles",
    "RunFolder",
    "Status",
    "SweepFolder",
    "check_unheld",
    "closing_table",
    "format_accuracy",
    "format_bytes",
    "format_seconds",
    "installed_versions",
    "notebook_observer",
    "notebook_sweep",
    "noted_versions",
    "plot_curves",
    "read",
    "shown",
    "summarise",
    "sweep_row",
    "sweep_table",
    "write_report",
]
