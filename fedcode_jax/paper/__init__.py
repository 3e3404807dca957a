"""FedCode's experiments: read from YAML, planned, run, and set beside the published figures."""

from fedcode_jax.paper.comparing import Overall, overall, row, told_apart
from fedcode_jax.paper.page import page
from fedcode_jax.paper.reading import Method, Paper, Published, configs, home, read
from fedcode_jax.paper.reports import Report, write_reports
from fedcode_jax.paper.running import Expected, expected, run_task

__all__ = [
    "Expected",
    "Method",
    "Overall",
    "Paper",
    "Published",
    "Report",
    "configs",
    "expected",
    "home",
    "overall",
    "page",
    "read",
    "row",
    "run_task",
    "told_apart",
    "write_reports",
]
